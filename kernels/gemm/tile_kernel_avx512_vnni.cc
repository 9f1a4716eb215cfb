// vpdpbusd: four products of bytes and their sum added to an integer in one instruction. Intrinsics for the
// same reason as in tile_kernel_avx512_bf16.cc.
#include "kernels/gemm/quantized_group.h"
#include "kernels/gemm/tile_kernel.h"

#if defined(__x86_64__)
#include <cstring>
#include <immintrin.h>

#define DSLAD_AVX512_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

namespace dslad::kernels {
namespace {

constexpr int kPanelVectors = 4;  // of 16 columns in a panel
constexpr int kQuads = kGroup / 4;
constexpr std::int64_t kQuadBytes = 256;  // of a panel: four values of 64 columns
constexpr std::int64_t kGroupsAhead = 4096;

// With a mask of all lanes: the plain intrinsics start from what GCC 12 warns is uninitialised.
DSLAD_AVX512_VNNI inline __m512 to_floats(__m512i integers) {
  return _mm512_maskz_cvtepi32_ps(0xffff, integers);
}
DSLAD_AVX512_VNNI inline __m512 to_floats(__m256i halves) {
  return _mm512_maskz_cvtph_ps(0xffff, halves);
}

// The integer sums of a tile over one group, in registers: 24 of the 32 for six rows.
template <int kRows>
struct GroupSums {
  __m512i of[kRows][kPanelVectors];

  // int8: w = d (u - 128), so every sum begins with -128 times that of x.
  template <WeightFormat kFormat>
  DSLAD_AVX512_VNNI void start(const std::array<const RowGroup*, kRows>& x) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const int first = kFormat == WeightFormat::kInt8 ? -128 * x[r]->sum : 0;
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) of[r][v] = _mm512_set1_epi32(first);
    }
  }

  DSLAD_AVX512_VNNI void add(const std::array<const RowGroup*, kRows>& x, int quad,
                             const __m512i (&weights)[kPanelVectors]) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int values;
      std::memcpy(&values, x[r]->q.data() + quad * 4, sizeof(values));
      const __m512i quads = _mm512_set1_epi32(values);
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) of[r][v] = _mm512_dpbusd_epi32(of[r][v], weights[v], quads);
    }
  }

  template <WeightFormat kFormat>
  DSLAD_AVX512_VNNI void add_group(const std::array<const RowGroup*, kRows>& x, const std::byte* w) {
    start<kFormat>(x);
    __m512i weights[kPanelVectors];
    if constexpr (kFormat == WeightFormat::kInt8) {
#pragma GCC unroll 8
      for (int quad = 0; quad < kQuads; ++quad) {
#pragma GCC unroll 4
        for (int v = 0; v < kPanelVectors; ++v)
          weights[v] = _mm512_load_si512(w + quad * kQuadBytes + v * 64);
        add(x, quad, weights);
      }
    } else {
      const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 8
      for (int quad = 0; quad < kQuads; ++quad) {
        const bool upper = quad >= kQuads / 2;
#pragma GCC unroll 4
        for (int v = 0; v < kPanelVectors; ++v) {
          const __m512i pairs = _mm512_load_si512(w + quad % (kQuads / 2) * kQuadBytes + v * 64);
          weights[v] = _mm512_and_si512(upper ? _mm512_srli_epi16(pairs, 4) : pairs, low);
        }
        add(x, quad, weights);
      }
    }
  }

  // Scales the group's sums and adds them to the tile.
  template <WeightFormat kFormat>
  DSLAD_AVX512_VNNI void store(const std::array<const RowGroup*, kRows>& x, const std::byte* scales,
                               float* tile, bool resume) const {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      const __m512 scale = to_floats(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales) + v));
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        float* const sums = tile + r * kPanelColumns + v * 16;
        const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x[r]->scale));
        __m512 total = resume ? _mm512_load_ps(sums) : _mm512_setzero_ps();
        total = _mm512_fmadd_ps(both, to_floats(of[r][v]), total);
        if constexpr (kFormat == WeightFormat::kInt4) {
          const __m512 offset =
              to_floats(_mm256_load_si256(reinterpret_cast<const __m256i*>(scales + 2 * kPanelColumns) + v));
          const float values = x[r]->scale * static_cast<float>(x[r]->sum);
          total = _mm512_fmadd_ps(offset, _mm512_set1_ps(values), total);
        }
        _mm512_store_ps(sums, total);
      }
    }
  }
};

template <WeightFormat kFormat, int kRows>
DSLAD_AVX512_VNNI void run_tile(const TileArgs& args) {
  constexpr StepLayout kLayout = step_layout(kFormat);
  constexpr std::int64_t kValueBytes =
      kFormat == WeightFormat::kInt8 ? kQuads * kQuadBytes : kQuads / 2 * kQuadBytes;
  std::array<const RowGroup*, kRows> x;
  for (int r = 0; r < kRows; ++r) x[r] = reinterpret_cast<const RowGroup*>(args.x + r * args.x_stride);
  const std::byte* w = args.w;
  const std::byte* ahead = args.ahead;
  for (std::int64_t step = 0; step < args.steps; ++step, w += kLayout.panel_bytes) {
    for (std::int64_t line = 0; line < args.ahead_lines; ++line, ahead += 64)
      _mm_prefetch(ahead, _MM_HINT_T1);
    GroupSums<kRows> sums;
    sums.template add_group<kFormat>(x, w);
    sums.template store<kFormat>(x, w + kValueBytes, args.tile, args.resume || step > 0);
    for (const RowGroup*& group : x) ++group;
  }
}

template <WeightFormat kFormat>
constexpr TileKernels kKernels = {{run_tile<kFormat, 1>, run_tile<kFormat, 2>, run_tile<kFormat, 3>,
                                   run_tile<kFormat, 4>, run_tile<kFormat, 5>, run_tile<kFormat, 6>},
                                  6,
                                  1,
                                  kGroupsAhead};

}  // namespace

const TileKernels* avx512_vnni_tile_kernels(WeightFormat format) {
  const bool supported = __builtin_cpu_supports("avx512vnni") != 0 &&
                         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  if (!supported || !is_quantized(format)) return nullptr;
  return format == WeightFormat::kInt8 ? &kKernels<WeightFormat::kInt8> : &kKernels<WeightFormat::kInt4>;
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
const TileKernels* avx512_vnni_tile_kernels(WeightFormat) {
  return nullptr;
}
}  // namespace dslad::kernels

#endif
