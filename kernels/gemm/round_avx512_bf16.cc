// Intrinsics for the same reason as in tile_kernel_avx512_bf16.cc.
#include "kernels/gemm/round_avx512_bf16.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define DSLAD_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace dslad::kernels {

bool has_avx512_bf16() {
  static const bool supported = __builtin_cpu_supports("avx512bf16") != 0 &&
                                __builtin_cpu_supports("avx512vl") != 0 &&
                                __builtin_cpu_supports("avx512bw") != 0;
  return supported;
}

DSLAD_AVX512_BF16 void round_line_avx512_bf16(const float* x, std::int64_t k, bf16* out) {
  std::int64_t i = 0;
  for (; i + 32 <= k; i += 32) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(out + i, reinterpret_cast<__m512i>(rounded));
  }
  for (; i < k; ++i) out[i] = to_bf16(x[i]);
}

DSLAD_AVX512_BF16 void round_pairs_avx512_bf16(const float* low, const float* high, std::int64_t n,
                                               std::uint32_t* out) {
  // Words 0 to 15 of a rounded vector are `low`, 16 to 31 `high`.
  const __m512i index = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                         23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(high + i), _mm512_loadu_ps(low + i));
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi16(index, reinterpret_cast<__m512i>(rounded)));
  }
  for (; i < n; ++i) out[i] = to_bf16(low[i]).bits | std::uint32_t{to_bf16(high[i]).bits} << 16;
}

}  // namespace dslad::kernels

#else

namespace dslad::kernels {
bool has_avx512_bf16() {
  return false;
}
void round_line_avx512_bf16(const float*, std::int64_t, bf16*) {}
void round_pairs_avx512_bf16(const float*, const float*, std::int64_t, std::uint32_t*) {}
}  // namespace dslad::kernels

#endif
