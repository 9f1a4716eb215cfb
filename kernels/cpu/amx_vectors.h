// What stands around products of bf16 tiles: float32 numbers taken apart into bf16 ones, and exponentials, by
// vectors of 16. Intrinsics, for files that are compiled for AMX alone: every function that uses these bears
// DSLAD_AMX, and is called where may_use_amx() alone.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#define DSLAD_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))

// GCC's own headers name values that are undefined on purpose (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace dslad::kernels {

// The compiler does not know that a tile's load reads memory: what was stored before must be there.
inline void publish() {
  asm volatile("" ::: "memory");
}

// The leading 8 bits of each mantissa, exact as bf16.
DSLAD_AMX inline __m512 leading(__m512 x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(-0x10000)));
}

// The nearest number that is exact as bf16; halves go up. Of a NaN any number: what is left of it is NaN.
DSLAD_AMX inline __m512 nearest(__m512 x) {
  const __m512i half_way = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
  return leading(_mm512_castsi512_ps(half_way));
}

// 32 consecutive numbers, rounded.
DSLAD_AMX inline void store_bf16(void* to, __m512 low, __m512 high) {
  _mm512_storeu_si512(to, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
}

// e^x: 2^n times a polynomial in the rest, fitted to a relative error of 1e-7; 1 at 0. What is too small is
// 0.
DSLAD_AMX inline __m512 exp_of(__m512 x) {
  const __m512 log2_e = _mm512_set1_ps(0x1.715476p+0f);
  const __m512 n =
      _mm512_roundscale_ps(_mm512_mul_ps(x, log2_e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_fmsub_ps(x, log2_e, n);
  __m512 p = _mm512_set1_ps(0x1.5bba08p-10f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.3cea88p-7f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.c6b752p-5f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ebf9bcp-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62e42ap-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

// 1 / x to float32's accuracy. REQUIRES: x and its reciprocal are normal numbers.
DSLAD_AMX inline __m512 reciprocal(__m512 x) {
  const __m512 about = _mm512_rcp14_ps(x);
  return _mm512_mul_ps(about, _mm512_fnmadd_ps(x, about, _mm512_set1_ps(2.0f)));
}

}  // namespace dslad::kernels
#endif
