// The pages of attention.h, as kernels read and write them.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/vectors.h"

namespace dslad::kernels::cuda {

// Keys [n_kv, d, kPageTokens] of the page that holds a token, then values [n_kv, kPageTokens, d].
template <class T>
DSLAD_DEVICE T* page_of(const AttentionArgs& args, const AttentionPiece& piece, std::int64_t token) {
  const std::int64_t floats = 2 * std::int64_t{args.layout.n_kv} * kPageTokens * args.layout.head_dim;
  return static_cast<T*>(args.pool) + piece.pages[token / kPageTokens] * floats;
}

// A token's first channel of one head; the next lies kPageTokens further on.
template <class T>
DSLAD_DEVICE T* key_of(const AttentionArgs& args, const AttentionPiece& piece, int head, std::int64_t token) {
  return page_of<T>(args, piece, token) + std::int64_t{head} * args.layout.head_dim * kPageTokens +
         token % kPageTokens;
}

template <class T>
DSLAD_DEVICE T* value_of(const AttentionArgs& args, const AttentionPiece& piece, int head,
                         std::int64_t token) {
  return page_of<T>(args, piece, token) +
         ((std::int64_t{args.layout.n_kv} + head) * kPageTokens + token % kPageTokens) * args.layout.head_dim;
}

DSLAD_DEVICE void put(float x, float* to) {
  *to = x;
}
DSLAD_DEVICE void put(float x, bf16* to) {
  *to = {static_cast<std::uint16_t>(pack_bf16(x, 0.0f))};
}
DSLAD_DEVICE float get(const float* from) {
  return *from;
}
DSLAD_DEVICE float get(const bf16* from) {
  return to_float(*from);
}

struct Float8 {
  float at[8];
};

// Eight elements; REQUIRES: aligned to 16 bytes.
DSLAD_DEVICE Float8 load8(const float* from) {
  const Float4 low = load4(from, 4, true), high = load4(from + 4, 4, true);
  return {{low.at[0], low.at[1], low.at[2], low.at[3], high.at[0], high.at[1], high.at[2], high.at[3]}};
}
struct alignas(16) Bf16x8 {
  bf16 at[8];
};
DSLAD_DEVICE Float8 load8(const bf16* from) {
  const Bf16x8 packed = *reinterpret_cast<const Bf16x8*>(from);
  Float8 x;
  DSLAD_UNROLL for (int i = 0; i < 8; ++i) x.at[i] = to_float(packed.at[i]);
  return x;
}

// The first `count` of eight elements (all if more); the others are 0. `aligned`: those that count are eight
// or none, from a multiple of 16 bytes on.
template <class T>
DSLAD_DEVICE Float8 load8(const T* from, int count, bool aligned) {
  if (aligned) return count > 0 ? load8(from) : Float8{};
  Float8 x;
  DSLAD_UNROLL for (int i = 0; i < 8; ++i) x.at[i] = i < count ? get(from + i) : 0.0f;
  return x;
}

// Of a row of d values those from `channel` on, 0 beyond its end.
template <class T>
DSLAD_DEVICE Float8 load_values(const T* row, int channel, int d) {
  if (d % 8 == 0) return load8(row + channel);
  Float8 x;
  DSLAD_UNROLL for (int i = 0; i < 8; ++i) x.at[i] = channel + i < d ? get(row + channel + i) : 0.0f;
  return x;
}

}  // namespace dslad::kernels::cuda
