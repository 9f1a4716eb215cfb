// Writes each piece's keys and values into its pages. A block has up to kTokens rows of one piece and KV
// head: keys are written along tokens, values along channels, so both lie side by side in the page.
#pragma once

#include "kernels/attention/cuda/attention_on_device.h"
#include "kernels/attention/cuda/page.cuh"
#include "kernels/cuda/pieces.h"

namespace dslad::kernels::cuda {

template <class T>
struct AppendKv {
  using Args = AttentionOnDevice;
  static constexpr int kThreads = 128;
  static constexpr std::int64_t kTokens = 64;

  static Grid grid(const Args& step) {
    return {piece_blocks(step.args.pieces.size(), (step.most_rows + kTokens - 1) / kTokens),
            step.args.layout.n_kv};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const AttentionArgs& args = step.args;
    const PieceBlock block = piece_block(args.pieces.size());
    const AttentionPiece piece = args.pieces.data()[block.piece];
    const int head = static_cast<int>(block_index().y);
    const std::int64_t first = block.part * kTokens, d = args.layout.head_dim;
    const std::int64_t tokens = piece.rows - first < kTokens ? piece.rows - first : kTokens;
    const auto source = [&](std::int64_t t, std::int64_t channel) {
      return (piece.first_row + first + t) * args.kv_stride + head * d + channel;
    };
    for (std::int64_t i = thread_index(); i < tokens * d; i += kThreads) {
      const std::int64_t t = i % tokens, channel = i / tokens;
      put(args.k[source(t, channel)],
          key_of<T>(args, piece, head, piece.context + first + t) + channel * kPageTokens);
    }
    for (std::int64_t i = thread_index(); i < tokens * d; i += kThreads) {
      const std::int64_t t = i / d, channel = i % d;
      put(args.v[source(t, channel)], value_of<T>(args, piece, head, piece.context + first + t) + channel);
    }
  }
};

}  // namespace dslad::kernels::cuda
