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

template <int kRows>
DSLAD_AVX512_BF16 void run_tile(const TileArgs& args) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = args.resume ? _mm512_load_ps(args.tile + r * 64 + v * 16) : _mm512_setzero_ps();
    }
  }
  const std::byte* x = args.x;
  const std::byte* w = args.w;
  for (std::int64_t step = 0; step < args.steps; ++step, x += kStepBytes, w += kPanelStepBytes) {
    __m512bh weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = reinterpret_cast<__m512bh>(_mm512_load_si512(w + v * 64));
      _mm_prefetch(w + 4096 + v * 64, _MM_HINT_T0);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int pair;
      std::memcpy(&pair, x + r * args.x_stride, sizeof(pair));
      const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], both, weights[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(args.tile + r * 64 + v * 16, sums[r][v]);
  }
}

}  // namespace

const TileKernels* avx512_bf16_tile_kernels() {
  static const TileKernels kernels = {
      {run_tile<1>, run_tile<2>, run_tile<3>, run_tile<4>, run_tile<5>, run_tile<6>}, 6};
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
