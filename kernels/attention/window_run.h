// Where the tokens of a window lie: in the sequence's ring or in the piece's own rows. Shared by the versions
// of window attention; internal to kernels/attention. Functions of their arguments alone.
#pragma once

#include <algorithm>

#include "kernels/attention/window_attention.h"

namespace dslad::kernels {

// Keys and values of consecutive tokens of one KV head.
struct WindowRun {
  const float* k;
  const float* v;
  std::int64_t stride;  // floats from token to token
  std::int64_t tokens;
};

// Of the tokens [token, end), the first ones that lie side by side. REQUIRES: the ring or the piece has them.
inline WindowRun window_run(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head,
                            std::int64_t token, std::int64_t end) {
  const std::int64_t d = args.shape.head_dim, window = args.shape.window;
  if (token >= piece.context) {
    const std::int64_t at =
        (piece.first_row + token - piece.context) * args.kv_stride + std::int64_t{kv_head} * d;
    return {args.k + at, args.v + at, args.kv_stride, end - token};
  }
  const std::int64_t slot = token % window;
  const float* k = piece.ring + (kv_head * window + slot) * d;
  return {k, k + args.shape.n_kv * window * d, d,
          std::min({end - token, piece.context - token, window - slot})};
}

// Writes the piece's latest keys and values of one KV head into its ring.
inline void store_window(const WindowAttentionArgs& args, const WindowPiece& piece, int kv_head) {
  const std::int64_t d = args.shape.head_dim, window = args.shape.window;
  const std::int64_t end = piece.context + piece.rows;
  for (std::int64_t token = std::max(piece.context, end - window); token < end; ++token) {
    const WindowRun from = window_run(args, piece, kv_head, token, token + 1);
    float* to = piece.ring + (kv_head * window + token % window) * d;
    std::copy_n(from.k, d, to);
    std::copy_n(from.v, d, to + args.shape.n_kv * window * d);
  }
}

}  // namespace dslad::kernels
