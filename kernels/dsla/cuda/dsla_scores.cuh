// The first half of the chunk form (dsla_chunk.cuh): scores and sums of log-gates of all sub-blocks, and what
// both halves know of one.
#pragma once

#include "kernels/cuda/pieces.h"
#include "kernels/dsla/cuda/dsla_on_device.h"
#include "kernels/dsla/cuda/gate.cuh"

namespace dslad::kernels::cuda {

inline constexpr int kSubBlock = static_cast<int>(kDslaSubBlock);

// A sub-block of a piece: rows [first_row, first_row + tokens) of the step.
struct DslaSubBlock {
  std::int64_t first_row;
  int tokens;
  DSLAD_DEVICE DslaSubBlock(const DslaPiece& piece, std::int64_t index)
      : first_row(piece.first_row + index * kSubBlock),
        tokens(static_cast<int>(piece.rows - index * kSubBlock < kSubBlock ? piece.rows - index * kSubBlock
                                                                           : kSubBlock)) {}
};

DSLAD_DEVICE float* workspace_of(const DslaOnDevice& step, std::int64_t piece, std::int64_t sub_block) {
  const std::int64_t before = sub_blocks_before(piece, step.args.pieces.data()[piece].first_row);
  return step.workspace + (before + sub_block) * dsla_sub_block_floats(step.args.shape);
}
// Scores of one sub-block and query head, [16, 16]; 0 above the diagonal and beyond its tokens.
DSLAD_DEVICE float* scores_of(const DslaOnDevice& step, std::int64_t piece, std::int64_t sub_block,
                              std::int64_t head) {
  return workspace_of(step, piece, sub_block) + head * kSubBlock * kSubBlock;
}
// Sums of the log-gates from one sub-block's start to each of its tokens, [16, d_k], of a state's KV head;
// undefined beyond its tokens.
DSLAD_DEVICE float* log_sums_of(const DslaOnDevice& step, std::int64_t piece, std::int64_t sub_block,
                                int head, int i) {
  const DslaShape& shape = step.args.shape;
  return workspace_of(step, piece, sub_block) + dsla_score_floats(shape) +
         (std::int64_t{head} * shape.states + i) * kSubBlock * shape.d_k;
}

// The log-gate of a token's channel in state i.
DSLAD_DEVICE float log_gate_of(const DslaArgs& args, std::int64_t row, int i, int head, int a) {
  const std::int64_t channel = (std::int64_t{i} * args.shape.n_kv + head) * args.shape.d_k + a;
  return log_gate(args.z[row * args.z_stride + channel] + args.gate_bias[channel]);
}

// Bound by exponentials: one for each pair of tokens, channel and state, shared by kQueries query heads of
// the group. A block has one sub-block of one KV head; a thread one pair of tokens.
template <int kQueries>
struct DslaScores {
  using Args = DslaOnDevice;
  static constexpr int kThreads = kSubBlock * kSubBlock;

  static Grid grid(const Args& step) {
    const DslaShape& shape = step.args.shape;
    return {piece_blocks(step.args.pieces.size(), most_sub_blocks(step.most_rows)), shape.n_kv, 1,
            static_cast<std::size_t>(3 + kQueries) * kSubBlock * static_cast<std::size_t>(shape.d_k + 1) *
                sizeof(float)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DslaArgs& args = step.args;
    const PieceBlock at = piece_block(args.pieces.size());
    const DslaPiece piece = args.pieces.data()[at.piece];
    if (piece.rows < 2 || at.part * kSubBlock >= piece.rows) return;
    const DslaSubBlock block(piece, at.part);
    const int group = args.shape.n_heads / args.shape.n_kv, head = static_cast<int>(block_index().y);
    stage_keys(step, at, block, head);
    for (int first = 0; first < group; first += kQueries) {
      const int queries = group - first < kQueries ? group - first : kQueries;
      const int query_head = head * group + first;
      stage_queries(args, block, query_head, queries);
      sync_block();
      float sums[kQueries] = {};
      score(args, block, query_head, sums);
      sync_block();  // the queries have been used
      DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
        if (g < queries) scores_of(step, at.piece, at.part, query_head + g)[thread_index()] = sums[g];
      }
    }
  }

 private:
  // Rows one float apart from a multiple of the banks: keys, log-sums of two states, queries; [.., 16, d_k +
  // 1].
  static DSLAD_DEVICE float* row_of(const DslaArgs& args, int matrix, int t) {
    return dynamic_shared<float>() + (matrix * kSubBlock + t) * (args.shape.d_k + 1);
  }
  static DSLAD_DEVICE float* key(const DslaArgs& args, int t) { return row_of(args, 0, t); }
  static DSLAD_DEVICE float* log_sum(const DslaArgs& args, int i, int t) { return row_of(args, 1 + i, t); }
  static DSLAD_DEVICE float* query(const DslaArgs& args, int g, int t) { return row_of(args, 3 + g, t); }

  // The log-sums are for the second half too, whose blocks would each make them anew.
  static DSLAD_DEVICE void stage_keys(const Args& step, const PieceBlock& at, const DslaSubBlock& block,
                                      int head) {
    const DslaArgs& args = step.args;
    const int d_k = args.shape.d_k;
    for (int item = thread_index(); item < args.shape.states * d_k; item += kThreads) {
      const int i = item / d_k, a = item % d_k;
      float* log_sums = log_sums_of(step, at.piece, at.part, head, i) + a;
      float sum = 0;
      for (int t = 0; t < block.tokens; ++t) {
        const std::int64_t row = block.first_row + t;
        sum += log_gate_of(args, row, i, head, a);
        log_sum(args, i, t)[a] = sum;
        log_sums[t * d_k] = sum;
        if (i == 0) key(args, t)[a] = args.k[row * args.k_stride + std::int64_t{head} * d_k + a];
      }
    }
  }

  static DSLAD_DEVICE void stage_queries(const DslaArgs& args, const DslaSubBlock& block, int query_head,
                                         int queries) {
    const int d_k = args.shape.d_k;
    for (int item = thread_index(); item < kQueries * block.tokens * d_k; item += kThreads) {
      const int g = item / (block.tokens * d_k), t = item / d_k % block.tokens, a = item % d_k;
      const float* q = args.q + (block.first_row + t) * args.q_stride + std::int64_t{query_head} * d_k;
      query(args, g, t)[a] = g < queries ? q[g * d_k + a] : 0.0f;
    }
  }

  static DSLAD_DEVICE void score(const DslaArgs& args, const DslaSubBlock& block, int query_head,
                                 float (&sums)[kQueries]) {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
    const int t = thread_index() / kSubBlock, u = thread_index() % kSubBlock;
    if (u > t || t >= block.tokens) return;
    const float scale = 1.0f / sqrtf(static_cast<float>(d_k));
    for (int i = 0; i < n_states; ++i) {
      float products[kQueries] = {};
      const float *now = log_sum(args, i, t), *then = log_sum(args, i, u), *k = key(args, u);
      for (int a = 0; a < d_k; ++a) {
        const float decayed = k[a] * expf(now[a] - then[a]);
        DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) products[g] += query(args, g, t)[a] * decayed;
      }
      DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
        if (query_head + g < n_heads) sums[g] += scale * args.mix[i * n_heads + query_head + g] * products[g];
      }
    }
  }
};

}  // namespace dslad::kernels::cuda
