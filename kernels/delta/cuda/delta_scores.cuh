// The first half of the chunk form (delta_chunk.cuh): what of a chunk does not depend on the state, of all
// chunks at once, and where both halves find it.
#pragma once

#include "kernels/cuda/pieces.h"
#include "kernels/cuda/reduce.h"
#include "kernels/delta/cuda/delta_logits.cuh"

namespace dslad::kernels::cuda {

// A chunk of a piece: rows [first_row, first_row + tokens) of the step.
struct DeltaTokens {
  std::int64_t first_row;
  int tokens;
  DSLAD_DEVICE DeltaTokens(const DslaPiece& piece, std::int64_t chunk)
      : first_row(piece.first_row + chunk * kDeltaChunk),
        tokens(static_cast<int>(piece.rows - chunk * kDeltaChunk < kDeltaChunk
                                    ? piece.rows - chunk * kDeltaChunk
                                    : kDeltaChunk)) {}
};

// Of a KV head. Tokens beyond the chunk's end are there: of no key, gate 1 and beta 0.
struct DeltaHeadScores {
  float system[kDeltaChunk][kDeltaChunk];  // T; 0 above the diagonal
  float from_start[kDeltaChunk];           // the gates' product up to each token, its own with it
  float to_end[kDeltaChunk];               // that of the gates behind it
  float key[kDeltaChunk];                  // by what the key is multiplied to be of length 1
};
// Of a query head.
struct DeltaQueryScores {
  float score[kDeltaChunk][kDeltaChunk];  // A; 0 above the diagonal
  float query[kDeltaChunk];               // by what the query is multiplied to be of length 1
};
static_assert(sizeof(DeltaHeadScores) == kDeltaHeadFloats * sizeof(float));
static_assert(sizeof(DeltaQueryScores) == kDeltaQueryFloats * sizeof(float));

DSLAD_DEVICE float* delta_scores_of(const DeltaRuleOnDevice& step, std::int64_t piece, std::int64_t chunk) {
  const std::int64_t at = delta_chunks_before(piece, step.args.pieces.data()[piece].first_row) + chunk;
  return step.workspace + at * delta_chunk_floats(step.args.shape);
}
DSLAD_DEVICE DeltaHeadScores& delta_head_scores(const DeltaRuleOnDevice& step, std::int64_t piece,
                                                std::int64_t chunk, int head) {
  return reinterpret_cast<DeltaHeadScores*>(delta_scores_of(step, piece, chunk))[head];
}
DSLAD_DEVICE DeltaQueryScores& delta_query_scores(const DeltaRuleOnDevice& step, std::int64_t piece,
                                                  std::int64_t chunk, int query_head) {
  float* const behind = delta_scores_of(step, piece, chunk) + step.args.shape.n_kv * kDeltaHeadFloats;
  return reinterpret_cast<DeltaQueryScores*>(behind)[query_head];
}

// Bound by shared memory: two loads and more for each product of a pair's channel. A block has one chunk of
// one KV head with its query heads, one after another; a thread four pairs of tokens.
//
// Decays are products of gates, not differences of sums of their logarithms: a gate that lets all pass counts
// behind one that lets nothing pass.
struct DeltaScores {
  using Args = DeltaRuleOnDevice;
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kApart = kThreads / kDeltaChunk;  // a thread's pairs (t, u), (t, u + kApart) and so on
  static constexpr int kPairs = kDeltaChunk / kApart;
  static_assert(kDeltaChunk == kWarp);  // of the system a lane solves a column

  static Grid grid(const Args& step) {
    return {piece_blocks(step.args.pieces.size(), most_delta_chunks(step.most_rows)), step.args.shape.n_kv, 1,
            std::size_t{2} * kDeltaChunk * static_cast<std::size_t>(step.args.shape.d_k + 1) * sizeof(float)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DeltaRuleArgs& args = step.args;
    const PieceBlock at = piece_block(args.pieces.size());
    const DslaPiece piece = args.pieces.data()[at.piece];
    if (piece.rows < 2 || at.part * kDeltaChunk >= piece.rows) return;
    const DeltaTokens tokens(piece, at.part);
    const int head = static_cast<int>(block_index().y), group = args.shape.n_heads / args.shape.n_kv;
    DeltaHeadScores& scores = delta_head_scores(step, at.piece, at.part, head);
    stage_logits(args, tokens, head);
    stage(args, tokens, args.k + std::int64_t{head} * args.shape.d_k, args.k_stride, 0, scores.key);
    sync_block();
    if (thread_index() < kWarp) fade(scores);
    sync_block();
    make_system(args.shape.d_k);
    sync_block();
    if (thread_index() < kWarp) solve(scores);
    for (int g = head * group; g < (head + 1) * group; ++g) {
      DeltaQueryScores& of_query = delta_query_scores(step, at.piece, at.part, g);
      stage(args, tokens, args.q + std::int64_t{g} * args.shape.d_k, args.q_stride, 1, of_query.query);
      sync_block();
      score(args.shape.d_k, of_query);
      sync_block();  // the query has been used
    }
  }

 private:
  struct Shared {
    float gate[kDeltaChunk], beta[kDeltaChunk];
    float fade[kDeltaChunk][kDeltaChunk + 1];    // [t, u]: the gates' product behind u up to t
    float system[kDeltaChunk][kDeltaChunk + 1];  // L, below the diagonal
    float solved[kDeltaChunk][kDeltaChunk + 1];  // (I + L)^-1
  };
  // Of length 1, keys (0) or queries (1); [2, kDeltaChunk, d_k + 1].
  static DSLAD_DEVICE float* vector(int d_k, int which, int t) {
    return dynamic_shared<float>() + (which * kDeltaChunk + t) * (d_k + 1);
  }

  static DSLAD_DEVICE void stage_logits(const DeltaRuleArgs& args, const DeltaTokens& tokens, int head) {
    const int t = thread_index();
    if (t >= kDeltaChunk) return;
    auto& shared = static_shared<Shared>();
    shared.gate[t] = t < tokens.tokens ? gate_of(args, tokens.first_row + t, head) : 1.0f;
    shared.beta[t] = t < tokens.tokens ? beta_of(args, tokens.first_row + t, head) : 0.0f;
  }

  // A warp a token: x[row, .] of all tokens.
  static DSLAD_DEVICE void stage(const DeltaRuleArgs& args, const DeltaTokens& tokens, const float* x,
                                 std::int64_t stride, int which, float* factors) {
    const int d_k = args.shape.d_k, lane = thread_index() % kWarp;
    for (int t = thread_index() / kWarp; t < kDeltaChunk; t += kWarps) {
      float* const to = vector(d_k, which, t);
      const float* const from = x + (tokens.first_row + t) * stride;
      float squares = 0;
      for (int a = lane; a < d_k; a += kWarp) {
        const float value = t < tokens.tokens ? from[a] : 0.0f;
        to[a] = value;
        squares += value * value;
      }
      const float by = 1.0f / length(warp_sum(squares));
      for (int a = lane; a < d_k; a += kWarp) to[a] *= by;
      if (lane == 0) factors[t] = by;
    }
  }

  // A lane a column.
  static DSLAD_DEVICE void fade(DeltaHeadScores& scores) {
    auto& shared = static_shared<Shared>();
    const int u = thread_index();
    float product = 1;
    for (int t = 0; t < kDeltaChunk; ++t) {
      if (t > u) product *= shared.gate[t];
      shared.fade[t][u] = product;
    }
    scores.to_end[u] = product;
    product = 1;
    for (int t = 0; t <= u; ++t) product *= shared.gate[t];
    scores.from_start[u] = product;
  }

  // f(t, u, fade of u's at t times <x_t, k_u>) of this thread's pairs with u <= t, and of the others with 0.
  template <class F>
  static DSLAD_DEVICE void each_pair(int d_k, int which, const F& f) {
    const auto& shared = static_shared<Shared>();
    const int t = thread_index() / kApart, first = thread_index() % kApart;
    const float *x = vector(d_k, which, t), *k[kPairs];
    float sums[kPairs] = {};
    DSLAD_UNROLL for (int i = 0; i < kPairs; ++i) k[i] = vector(d_k, 0, first + i * kApart);
    for (int a = 0; a < d_k; ++a) {
      DSLAD_UNROLL for (int i = 0; i < kPairs; ++i) sums[i] += x[a] * k[i][a];
    }
    DSLAD_UNROLL for (int i = 0; i < kPairs; ++i) {
      const int u = first + i * kApart;
      f(t, u, u <= t ? shared.fade[t][u] * sums[i] : 0.0f);
    }
  }

  static DSLAD_DEVICE void make_system(int d_k) {
    auto& shared = static_shared<Shared>();
    each_pair(d_k, 0, [&](int t, int u, float x) { shared.system[t][u] = shared.beta[t] * x; });
  }

  static DSLAD_DEVICE void score(int d_k, DeltaQueryScores& scores) {
    each_pair(d_k, 1, [&](int t, int u, float x) { scores.score[t][u] = x; });
  }

  // (I + L)^-1 column by column, each by a lane that alone touches it. No element is above 1: it is what a
  // key leaves of another's value, and a token takes no more than what is there.
  static DSLAD_DEVICE void solve(DeltaHeadScores& scores) {
    auto& shared = static_shared<Shared>();
    const int u = thread_index();
    for (int t = 0; t < kDeltaChunk; ++t) {
      float sum = 0;
      for (int s = 0; s < t; ++s) sum += shared.system[t][s] * shared.solved[s][u];
      const float x = t < u ? 0.0f : t == u ? 1.0f : -sum;
      shared.solved[t][u] = x;
      scores.system[t][u] = t < u ? 0.0f : x * shared.beta[u];
    }
  }
};

}  // namespace dslad::kernels::cuda
