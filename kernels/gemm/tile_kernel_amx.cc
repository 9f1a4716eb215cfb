// TDPBF16PS: 16 rows of 32 values times 32 by 16, in one instruction. It keeps two sums along K, of even and
// of odd values, starts both at zero every 32 values, and adds their sum to what was there; denormals are
// zeros. That order can be had from vectors too, by two multiply-adds a pair. One or two rows are done so:
// they wait for memory, and vectors wait better. Intrinsics for the same reason as in
// tile_kernel_avx512_bf16.cc.
#include "kernels/cpu/amx.h"
#include "kernels/gemm/tile_kernel.h"

#if defined(__x86_64__)
#include <cstring>
#include <immintrin.h>
#include <utility>

// GCC's own headers name values that are undefined on purpose (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define DSLAD_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))

namespace dslad::kernels {
namespace {

constexpr std::int64_t kSteps = 16;           // of a pair of values each, in one instruction
constexpr int kVectorRows = 2, kVectors = 4;  // what vectors do, and of how many columns
constexpr std::int64_t kStreamAhead = 16384;  // bytes of the panel, into the second-level cache
constexpr std::int64_t kNear = 1024;          // the same into the first
constexpr StepLayout kStep = step_layout(WeightFormat::kBf16);

// As the instruction does.
class DenormalsAreZeros {
 public:
  DenormalsAreZeros() { _mm_setcsr(before_ | kFlushResults | kFlushOperands); }
  ~DenormalsAreZeros() { _mm_setcsr(before_); }
  DenormalsAreZeros(const DenormalsAreZeros&) = delete;
  DenormalsAreZeros& operator=(const DenormalsAreZeros&) = delete;

 private:
  static constexpr unsigned kFlushResults = 0x8000, kFlushOperands = 0x40;
  unsigned before_ = _mm_getcsr();
};

// A step of the panel. kLevel as __builtin_prefetch has it: 3 is the first-level cache, 2 the second.
template <int kLevel>
inline void fetch_step(const std::byte* step) {
#pragma GCC unroll 4
  for (int line = 0; line < 4; ++line) __builtin_prefetch(step + line * 64, 0, kLevel);
}

// A pair of bf16 is the upper halves of two floats, the even one in the lower half.
DSLAD_AMX inline __m512 even(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}
DSLAD_AMX inline __m512 odd(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-0x10000)));
}

// Both sums of each vector of columns are registers.
template <int kRows>
DSLAD_AMX void run_vectors(const TileArgs& args) {
  static_assert(kRows <= kVectorRows);
  const DenormalsAreZeros as_the_instruction;
  const std::byte* const ahead = args.ahead;  // all of it: such rows are alone with their panel
  const std::byte* w = args.w;
  const std::byte* x = args.x;
  __m512 tile[kRows][kVectors];
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      tile[r][v] = args.resume ? _mm512_load_ps(args.tile + r * kPanelColumns + v * 16) : _mm512_setzero_ps();
    }
  }
  for (std::int64_t step = 0; step < args.steps; step += kSteps) {
    __m512 sums[kRows][kVectors][2];
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v][0] = sums[r][v][1] = _mm512_setzero_ps();
    }
    for (std::int64_t i = 0; i < kSteps; ++i, w += kStep.panel_bytes, x += kStep.row_bytes) {
      fetch_step<2>(ahead + (w - args.w));
      fetch_step<3>(w + kNear);
      __m512i weights[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_load_si512(w + v * 64);
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) {
        int pair;
        std::memcpy(&pair, x + r * args.x_stride, sizeof(pair));
        const __m512i pairs = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v][0] = _mm512_fmadd_ps(even(pairs), even(weights[v]), sums[r][v][0]);
          sums[r][v][1] = _mm512_fmadd_ps(odd(pairs), odd(weights[v]), sums[r][v][1]);
        }
      }
    }
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        tile[r][v] = _mm512_add_ps(tile[r][v], _mm512_add_ps(sums[r][v][0], sums[r][v][1]));
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(args.tile + r * kPanelColumns + v * 16, tile[r][v]);
  }
}

// Registers 0 to 3 are the sums of the panel's columns, 4 has the rows of x, 5 and 6 have weights.
constexpr TileConfig config_for(int rows) {
  TileConfig config;
  for (int i = 0; i < 5; ++i) config.rows[i] = static_cast<std::uint8_t>(rows);
  return config;
}

template <int kRows>
DSLAD_AMX void run_tiles(const TileArgs& args) {
  static constexpr TileConfig kConfig = config_for(kRows);
  constexpr std::int64_t kTileStride = kPanelColumns * std::int64_t{sizeof(float)};
  // The compiler does not know that a tile's load reads memory.
  asm volatile("" ::: "memory");
  _tile_loadconfig(&kConfig);
  if (args.resume) {
    _tile_loadd(0, args.tile, kTileStride);
    _tile_loadd(1, args.tile + 16, kTileStride);
    _tile_loadd(2, args.tile + 32, kTileStride);
    _tile_loadd(3, args.tile + 48, kTileStride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; step += kSteps) {
    const std::int64_t quarter = args.ahead_lines / 4;
    const std::byte* const w = args.w + step * kStep.panel_bytes;
    _tile_loadd(4, args.x + step * kStep.row_bytes, args.x_stride);
    _tile_loadd(5, w, kStep.panel_bytes);
    _tile_dpbf16ps(0, 4, 5);
    ahead = fetch_ahead(ahead, quarter);
    _tile_loadd(6, w + 64, kStep.panel_bytes);
    _tile_dpbf16ps(1, 4, 6);
    ahead = fetch_ahead(ahead, quarter);
    _tile_loadd(5, w + 128, kStep.panel_bytes);
    _tile_dpbf16ps(2, 4, 5);
    ahead = fetch_ahead(ahead, quarter);
    _tile_loadd(6, w + 192, kStep.panel_bytes);
    _tile_dpbf16ps(3, 4, 6);
    ahead = fetch_ahead(ahead, quarter);
  }
  _tile_stored(0, args.tile, kTileStride);
  _tile_stored(1, args.tile + 16, kTileStride);
  _tile_stored(2, args.tile + 32, kTileStride);
  _tile_stored(3, args.tile + 48, kTileStride);
  _tile_release();
}

template <int kRows>
constexpr TileKernels::Kernel kernel_for() {
  if constexpr (kRows <= kVectorRows) {
    return run_vectors<kRows>;
  } else {
    return run_tiles<kRows>;
  }
}

template <int... kRowsLess1>
constexpr TileKernels all_kernels(std::integer_sequence<int, kRowsLess1...> /*rows*/) {
  return {{kernel_for<kRowsLess1 + 1>()...}, 16, kSteps, kStreamAhead};
}

}  // namespace

const TileKernels* amx_bf16_tile_kernels() {
  static const TileKernels kernels = all_kernels(std::make_integer_sequence<int, 16>());
  return may_use_amx() ? &kernels : nullptr;
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
const TileKernels* amx_bf16_tile_kernels() {
  return nullptr;
}
}  // namespace dslad::kernels

#endif
