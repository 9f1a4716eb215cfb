// Where the tokens of a window lie: in the sequence's ring or in the piece's own rows. Shared by the versions
// of window attention; internal to kernels/attention. Functions of their arguments alone.
#pragma once

#include <algorithm>

#include "kernels/attention/window_attention.h"

namespace dslad::kernels {

// Keys and values of consecutive tokens of one KV head.
struct WindowRun {
  const float* k;
  std::int64_t k_stride, k_channel;  // floats from token to token, and from channel to channel
  const float* v;
  std::int64_t v_stride;  // floats from token to token
  std::int64_t tokens;
};

// The ring's planes of one KV head.
inline float* ring_keys(const WindowShape& shape, float* ring, int kv_head) {  // [d, slots]
  return ring + kv_head * shape.slots() * shape.head_dim;
}
inline float* ring_values(const WindowShape& shape, float* ring, int kv_head) {  // [slots, d]
  return ring + (shape.n_kv + kv_head) * shape.slots() * shape.head_dim;
}

// Of the tokens [token, end), the first ones that lie side by side in the ring. REQUIRES: it has them.
inline WindowRun ring_run(const WindowShape& shape, float* ring, int kv_head, std::int64_t token,
                          std::int64_t end) {
  const std::int64_t slot = shape.slot_of(token);
  return {ring_keys(shape, ring, kv_head) + slot,
          1,
          shape.slots(),
          ring_values(shape, ring, kv_head) + slot * shape.head_dim,
          shape.head_dim,
          std::min(end - token, (token < shape.sinks ? shape.sinks : shape.slots()) - slot)};
}

// Of the tokens [token, end), the first ones that lie side by side. REQUIRES: the ring or the piece has them.
inline WindowRun window_run(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head,
                            std::int64_t token, std::int64_t end) {
  if (token < piece.context) {
    return ring_run(args.shape, piece.ring, kv_head, token, std::min(end, piece.context));
  }
  const std::int64_t at = (piece.first_row + token - piece.context) * args.kv_stride +
                          std::int64_t{kv_head} * args.shape.head_dim;
  return {args.k + at, args.kv_stride, 1, args.v + at, args.kv_stride, end - token};
}

// Writes keys and values of one KV head and the piece's tokens [first, end) into its ring.
inline void store_tokens(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head,
                         std::int64_t first, std::int64_t end) {
  const std::int64_t d = args.shape.head_dim, slots = args.shape.slots();
  for (std::int64_t token = first; token < end; ++token) {
    const WindowRun from = window_run(args, piece, kv_head, token, token + 1);
    const std::int64_t slot = args.shape.slot_of(token);
    float* keys = ring_keys(args.shape, piece.ring, kv_head) + slot;
    for (std::int64_t j = 0; j < d; ++j) keys[j * slots] = from.k[j];
    std::copy_n(from.v, d, ring_values(args.shape, piece.ring, kv_head) + slot * d);
  }
}

// Writes the piece's sinks and latest keys and values of one KV head into its ring.
inline void store_window(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head) {
  const std::int64_t end = piece.context + piece.rows,
                     latest = std::max(piece.context, end - args.shape.window);
  store_tokens(args, piece, kv_head, piece.context, std::min(args.shape.sinks, latest));
  store_tokens(args, piece, kv_head, latest, end);
}

}  // namespace dslad::kernels
