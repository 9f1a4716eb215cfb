// vdpbf16ps: two products and their sum added to a float32 in one instruction. The oldest Highway we
// support has no name for it, hence intrinsics; the rest of the program is built for any x86-64.
#include "kernels/gemm/tile_kernel.h"

#if defined(__x86_64__)
#include <cstring>
#include <immintrin.h>

#define DSLAD_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace dslad::kernels {
namespace {

constexpr int kVectors = 4;  // of 16 columns in a panel
constexpr std::int64_t kStreamAhead = 4096;
constexpr StepLayout kStep = step_layout(WeightFormat::kBf16);
constexpr std::int64_t kBlockSteps = 4;

// The sums of a tile, in registers: 24 of the 32 for six rows.
template <int kRows>
struct Sums {
  __m512 of[kRows][kVectors];

  DSLAD_AVX512_BF16 void load(const TileArgs& args) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        of[r][v] = args.resume ? _mm512_load_ps(args.tile + r * 64 + v * 16) : _mm512_setzero_ps();
      }
    }
  }

  DSLAD_AVX512_BF16 void add(const std::byte* x, std::int64_t x_stride, const std::byte* w) {
    __m512bh weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = reinterpret_cast<__m512bh>(_mm512_load_si512(w + v * 64));
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int pair;
      std::memcpy(&pair, x + r * x_stride, sizeof(pair));
      const auto pairs = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) of[r][v] = _mm512_dpbf16_ps(of[r][v], pairs, weights[v]);
    }
  }

  DSLAD_AVX512_BF16 void store(const TileArgs& args) const {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) _mm512_store_ps(args.tile + r * 64 + v * 16, of[r][v]);
    }
  }
};

template <int kRows>
DSLAD_AVX512_BF16 void run_tile(const TileArgs& args) {
  Sums<kRows> sums;
  sums.load(args);
  const std::byte* x = args.x;
  const std::byte* w = args.w;
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; step += kBlockSteps) {
    for (std::int64_t line = 0; line < args.ahead_lines; ++line, ahead += 64)
      _mm_prefetch(ahead, _MM_HINT_T1);
#pragma GCC unroll 4
    for (std::int64_t i = 0; i < kBlockSteps; ++i, x += kStep.row_bytes, w += kStep.panel_bytes) {
      sums.add(x, args.x_stride, w);
    }
  }
  sums.store(args);
}

}  // namespace

const TileKernels* avx512_bf16_tile_kernels() {
  static const TileKernels kernels = {
      {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>, run_tile<5>, run_tile<6>},
      6,
      kBlockSteps,
      kStreamAhead};
  const bool supported = __builtin_cpu_supports("avx512bf16") != 0 &&
                         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  return supported ? &kernels : nullptr;
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
const TileKernels* avx512_bf16_tile_kernels() {
  return nullptr;
}
}  // namespace dslad::kernels

#endif
