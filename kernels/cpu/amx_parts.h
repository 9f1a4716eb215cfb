// Products of float32 matrices by AMX: a number is three bf16 numbers, exactly, and of the nine products of
// parts the six are made that float32 would show. For the files that amx_vectors.h is for.
//
//   sums [16, 16 n] += left [16, 32] right [32, 16 n]      n up to kAtOnce: tile registers 0 to 3
// Operands lie as tile registers take them: a left one has rows of 32 numbers, a right one rows of 16 pairs,
// of two consecutive rows of float32; each part of it is a kilobyte, one behind the other.
#pragma once

#include "kernels/cpu/amx_vectors.h"

#if defined(__x86_64__)
#include <cstdint>

namespace dslad::kernels {

inline constexpr std::int64_t kTile = 16;         // rows of a tile register, and columns of float32
inline constexpr std::int64_t kDepth = 32;        // bf16 numbers in a row of it
inline constexpr std::int64_t kTileFloats = 256;  // in its kilobyte
inline constexpr int kParts = 3;                  // bf16 numbers that a float32 is taken apart into
inline constexpr int kAtOnce = 4;                 // tiles of sums

// A tile register's operands, one after the other, each a kilobyte: [rows, columns, part].
struct Tiles {
  float* first = nullptr;
  std::int64_t columns = 0;
  [[nodiscard]] float* at(std::int64_t row, std::int64_t column, int part) const {
    return first + ((row * columns + column) * kParts + part) * kTileFloats;
  }
};

// Pairs of numbers, the even one first. REQUIRES: they are exact as bf16, or NaN.
DSLAD_AMX inline __m512i pairs_of(__m512 even, __m512 odd) {
  const __m512i upper = _mm512_and_si512(_mm512_castps_si512(odd), _mm512_set1_epi32(-0x10000));
  return _mm512_or_si512(upper, _mm512_srli_epi32(_mm512_castps_si512(even), 16));
}

// A row of a right operand: two rows of float32. `at` points into part 0's tile, as below.
DSLAD_AMX inline void store_pairs(float* at, __m512 even, __m512 odd) {
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part, at += kTileFloats) {
    const __m512 even_part = leading(even), odd_part = leading(odd);
    _mm512_storeu_si512(at, pairs_of(even_part, odd_part));
    even = _mm512_sub_ps(even, even_part);
    odd = _mm512_sub_ps(odd, odd_part);
  }
}

// A row of a left operand: 32 numbers.
DSLAD_AMX inline void store_row(float* at, __m512 low, __m512 high) {
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part, at += kTileFloats) {
    const __m512 low_part = leading(low), high_part = leading(high);
    store_bf16(at, low_part, high_part);
    low = _mm512_sub_ps(low, low_part);
    high = _mm512_sub_ps(high, high_part);
  }
}

// Half of such a row.
DSLAD_AMX inline void store_half(float* at, __m512 x) {
#pragma GCC unroll 3
  for (int part = 0; part < kParts; ++part, at += kTileFloats) {
    const __m512 this_part = leading(x);
    const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(this_part), 16));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), halves);
    x = _mm512_sub_ps(x, this_part);
  }
}

// Rows become columns.
DSLAD_AMX inline void transpose(__m512 (&x)[16]) {
  __m512 y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    y[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const __m512d first = _mm512_castps_pd(y[4 * i + j]), second = _mm512_castps_pd(y[4 * i + 2 + j]);
      x[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
      x[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      y[8 * j + i] = _mm512_shuffle_f32x4(x[8 * j + i], x[8 * j + 4 + i], 0x88);
      y[8 * j + 4 + i] = _mm512_shuffle_f32x4(x[8 * j + i], x[8 * j + 4 + i], 0xdd);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    x[i] = _mm512_shuffle_f32x4(y[i], y[8 + i], 0x88);
    x[8 + i] = _mm512_shuffle_f32x4(y[i], y[8 + i], 0xdd);
  }
}

// Adds to `count` tiles of sums the product of a left operand and as many right ones, least parts first.
DSLAD_AMX inline void multiply(std::int64_t count, const float* left, const float* right) {
  _tile_loadd(4, left, 64);
  _tile_loadd(5, left + kTileFloats, 64);
  _tile_loadd(6, left + 2 * kTileFloats, 64);
#define DSLAD_ADD(sums)                                              \
  if (count > (sums)) {                                              \
    const float* const part = right + kParts * kTileFloats * (sums); \
    _tile_loadd(7, part + 2 * kTileFloats, 64);                      \
    _tile_dpbf16ps(sums, 4, 7);                                      \
    _tile_loadd(7, part + kTileFloats, 64);                          \
    _tile_dpbf16ps(sums, 5, 7);                                      \
    _tile_dpbf16ps(sums, 4, 7);                                      \
    _tile_loadd(7, part, 64);                                        \
    _tile_dpbf16ps(sums, 6, 7);                                      \
    _tile_dpbf16ps(sums, 5, 7);                                      \
    _tile_dpbf16ps(sums, 4, 7);                                      \
  }
  DSLAD_ADD(0)
  DSLAD_ADD(1)
  DSLAD_ADD(2)
  DSLAD_ADD(3)
#undef DSLAD_ADD
}

DSLAD_AMX inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// `step` floats from one tile to the next, `stride` from row to row.
DSLAD_AMX inline void load_sums(std::int64_t count, const float* from, std::int64_t step,
                                std::int64_t stride) {
  const auto bytes = stride * static_cast<std::int64_t>(sizeof(float));
  if (count > 0) _tile_loadd(0, from, bytes);
  if (count > 1) _tile_loadd(1, from + step, bytes);
  if (count > 2) _tile_loadd(2, from + 2 * step, bytes);
  if (count > 3) _tile_loadd(3, from + 3 * step, bytes);
}

DSLAD_AMX inline void store_sums(std::int64_t count, float* to, std::int64_t step, std::int64_t stride) {
  const auto bytes = stride * static_cast<std::int64_t>(sizeof(float));
  if (count > 0) _tile_stored(0, to, bytes);
  if (count > 1) _tile_stored(1, to + step, bytes);
  if (count > 2) _tile_stored(2, to + 2 * step, bytes);
  if (count > 3) _tile_stored(3, to + 3 * step, bytes);
}

}  // namespace dslad::kernels
#endif
