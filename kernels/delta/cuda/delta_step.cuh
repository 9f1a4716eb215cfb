// The recurrence of delta_rule.h on a CUDA device, a token at a time.
//
// Columns of a state have nothing to do with each other once key, gate and beta are known: a block has
// kColumns of them, of one head of one piece, and a thread four and every kStripes-th channel. One look at
// the old state gives what the key finds in it and what the queries do, and with these the outputs,
//
//   q^T S_t = a_t q^T S_t-1 + (q . k_t) beta_t (v_t - a_t k_t^T S_t-1)
//
// so that the threads wait for each other's sums once a token. Bound by memory where pieces are of one row:
// the state is read and written once. A launch fails with an error where a block has not (1 + kQueries) d_k
// floats of shared memory: cards have them up to d_k = 4096 and beyond. What a piece leaves depends on the
// piece alone, and not on where it is cut, bit for bit.
#pragma once

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vectors.h"
#include "kernels/delta/cuda/delta_logits.cuh"
#include "kernels/delta/delta_rule.h"

namespace dslad::kernels::cuda {

struct DeltaStepArgs {
  DeltaRuleArgs delta;
  bool long_pieces = false;  // pieces of many rows too; else of one row alone
};

// kQueries: of the group's query heads, as many share a look at the state; a larger group looks again.
// kShare: channels of a thread, in registers. kHeld: these are all that there are, and stay there from one
// token to the next; else they come from memory again for each look.
template <int kQueries, int kShare, bool kHeld>
struct DeltaStep {
  using Args = DeltaStepArgs;
  static constexpr int kThreads = 256;
  static constexpr int kColumns = 32;
  static constexpr int kLanes = kColumns / 4;         // threads side by side in a row of a state
  static constexpr int kStripes = kThreads / kLanes;  // channels at work at once
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kChannels = kShare * kStripes;
  static_assert(1 + kQueries <= kWarps);

  static Grid grid(const Args& step) {
    const DslaShape& shape = step.delta.shape;
    return {static_cast<std::int64_t>(step.delta.pieces.size()), shape.n_kv,
            (shape.d_v + kColumns - 1) / kColumns,
            static_cast<std::size_t>(1 + kQueries) * static_cast<std::size_t>(shape.d_k) * sizeof(float)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DeltaRuleArgs& args = step.delta;
    const DslaPiece piece = args.pieces.data()[block_index().x];
    if (piece.rows > 1 && !step.long_pieces) return;
    const int group = args.shape.n_heads / args.shape.n_kv;
    const Columns columns(args, piece);
    Share share;
    if constexpr (kHeld) columns.load(0, share);  // before keys are staged: its latency passes behind them
    for (std::int64_t row = piece.first_row; row < piece.first_row + piece.rows; ++row) {
      Float4 added;
      for (int first = 0; first < group; first += kQueries) {
        const int queries = group - first < kQueries ? group - first : kQueries;
        sync_block();  // the former look has read what is now written
        stage(args, row, first, queries);
        sync_block();
        look(columns, share);
        sync_block();
        added = columns.added(args, row, thread_index() % kLanes);
        if (thread_index() < queries * kLanes) columns.write(args, row, first);
      }
      update(columns, share, added);
    }
    if constexpr (kHeld) columns.store(0, share);
  }

 private:
  struct Token {
    float gate, beta;
    float along[kQueries];                      // q . k
    Float4 sums[kWarps][1 + kQueries][kLanes];  // of the key and the queries with the old state, by warp
  };
  // The key and the queries at length 1, [1 + kQueries, d_k]; zeros where there is no query.
  static DSLAD_DEVICE float* vectors() { return dynamic_shared<float>(); }

  static DSLAD_DEVICE int head() { return static_cast<int>(block_index().y); }
  static DSLAD_DEVICE int first_stripe() { return thread_index() / kLanes; }

  struct Share {
    Float4 at[kShare];
  };

  // This thread's four columns of the head's state. No other thread touches them.
  struct Columns {
    int d_k, d_v;
    float* state;
    std::int64_t column, count;  // how many there are from `column` on
    bool aligned;

    DSLAD_DEVICE Columns(const DeltaRuleArgs& args, const DslaPiece& piece)
        : d_k(args.shape.d_k),
          d_v(args.shape.d_v),
          state(piece.state + std::int64_t{head()} * d_k * d_v),
          column(block_index().z * kColumns + thread_index() % kLanes * 4),
          count(d_v - column),
          aligned(rows_are_aligned(piece.state, d_v)) {}

    // Of the kChannels channels from `first` on.
    DSLAD_DEVICE void load(int first, Share& share) const {
      DSLAD_UNROLL for (int r = 0; r < kShare; ++r) {
        const int a = first + first_stripe() + r * kStripes;
        share.at[r] = load4(state + std::int64_t{a} * d_v + column, a < d_k ? count : 0, aligned);
      }
    }
    DSLAD_DEVICE void store(int first, const Share& share) const {
      DSLAD_UNROLL for (int r = 0; r < kShare; ++r) {
        const int a = first + first_stripe() + r * kStripes;
        store4(state + std::int64_t{a} * d_v + column, share.at[r], a < d_k ? count : 0, aligned);
      }
    }

    // What the token adds along its key, beta (v - a k^T S), in the four columns of a lane.
    [[nodiscard]] DSLAD_DEVICE Float4 added(const DeltaRuleArgs& args, std::int64_t row, int lane) const {
      const auto& token = static_shared<Token>();
      const std::int64_t at = block_index().z * kColumns + lane * 4;
      const Float4 v = load4(args.v + row * args.v_stride + std::int64_t{head()} * d_v + at, d_v - at, false);
      Float4 x = summed(0, lane);
      for (float& y : x.at) y *= token.gate;
      for (int j = 0; j < 4; ++j) x.at[j] = token.beta * (v.at[j] - x.at[j]);
      return x;
    }
    // The output of one query in four columns.
    DSLAD_DEVICE void write(const DeltaRuleArgs& args, std::int64_t row, int first) const {
      const auto& token = static_shared<Token>();
      const int g = thread_index() / kLanes, lane = thread_index() % kLanes;
      const Float4 x = added(args, row, lane);
      Float4 y = summed(1 + g, lane);
      for (int j = 0; j < 4; ++j) y.at[j] = token.gate * y.at[j] + token.along[g] * x.at[j];
      const int query_head = head() * (args.shape.n_heads / args.shape.n_kv) + first + g;
      store4(args.o + row * args.o_stride + std::int64_t{query_head} * d_v + column, y, count, false);
    }

   private:
    // Of all warps, in their order.
    static DSLAD_DEVICE Float4 summed(int which, int lane) {
      const auto& token = static_shared<Token>();
      Float4 sum{};
      for (int w = 0; w < kWarps; ++w) {
        for (int j = 0; j < 4; ++j) sum.at[j] += token.sums[w][which][lane].at[j];
      }
      return sum;
    }
  };

  // A warp each for the key and the queries.
  static DSLAD_DEVICE void stage(const DeltaRuleArgs& args, std::int64_t row, int first, int queries) {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
    auto& token = static_shared<Token>();
    const int warp = thread_index() / kWarp, lane = thread_index() % kWarp;
    if (warp > kQueries) return;
    const float* key = args.k + row * args.k_stride + std::int64_t{head()} * d_k;
    const float* query =
        args.q + row * args.q_stride + (std::int64_t{head()} * (n_heads / n_kv) + first + warp - 1) * d_k;
    const auto at = [&](int a) { return warp == 0 ? key[a] : warp <= queries ? query[a] : 0.0f; };
    float squares = 0, key_squares = 0, along = 0;
    for (int a = lane; a < d_k; a += kWarp) {
      const float x = at(a), k = key[a];
      squares += x * x;
      key_squares += k * k;
      along += x * k;
    }
    const float by = 1.0f / length(warp_sum(squares)), key_by = 1.0f / length(warp_sum(key_squares));
    along = warp_sum(along);
    for (int a = lane; a < d_k; a += kWarp) vectors()[warp * d_k + a] = at(a) * by;
    if (lane != 0) return;
    if (warp > 0) {
      token.along[warp - 1] = along * by * key_by;
    } else {
      token.gate = gate_of(args, row, head());
      token.beta = beta_of(args, row, head());
    }
  }

  // The key's and the queries' sums with the old state: of a warp's four stripes by shuffles.
  static DSLAD_DEVICE void look(const Columns& columns, Share& share) {
    Float4 sums[1 + kQueries] = {};
    for (int first = 0; first < (kHeld ? 1 : columns.d_k); first += kChannels) {
      if constexpr (!kHeld) columns.load(first, share);
      DSLAD_UNROLL for (int r = 0; r < kShare; ++r) {
        const int a = first + first_stripe() + r * kStripes;
        if (a >= columns.d_k) continue;
        DSLAD_UNROLL for (int i = 0; i <= kQueries; ++i) {
          const float x = vectors()[i * columns.d_k + a];
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) sums[i].at[j] += x * share.at[r].at[j];
        }
      }
    }
    auto& token = static_shared<Token>();
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
    DSLAD_UNROLL for (int i = 0; i <= kQueries; ++i) {
      DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
        DSLAD_UNROLL for (int mask = kLanes; mask < kWarp; mask *= 2) {
          sums[i].at[j] += shuffle_xor(sums[i].at[j], mask);
        }
      }
      if (lane < kLanes) token.sums[warp][i][lane] = sums[i];
    }
  }

  // S = a S + k added^T.
  static DSLAD_DEVICE void update(const Columns& columns, Share& share, const Float4& added) {
    const float gate = static_shared<Token>().gate;
    for (int first = 0; first < (kHeld ? 1 : columns.d_k); first += kChannels) {
      if constexpr (!kHeld) columns.load(first, share);
      DSLAD_UNROLL for (int r = 0; r < kShare; ++r) {
        const int a = first + first_stripe() + r * kStripes;
        if (a >= columns.d_k) continue;
        const float k = vectors()[a];
        DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
          share.at[r].at[j] = gate * share.at[r].at[j] + k * added.at[j];
        }
      }
      if constexpr (!kHeld) columns.store(first, share);
    }
  }
};

template <int kQueries, class Queue>
void delta_step_of(Queue& queue, const DeltaStepArgs& step) {
  const int d_k = step.delta.shape.d_k;
  if (d_k <= DeltaStep<kQueries, 4, true>::kChannels)
    return queue.template launch<DeltaStep<kQueries, 4, true>>(step);
  if (d_k <= DeltaStep<kQueries, 8, true>::kChannels)
    return queue.template launch<DeltaStep<kQueries, 8, true>>(step);
  queue.template launch<DeltaStep<kQueries, 4, false>>(step);
}

template <class Queue>
void delta_step(Queue& queue, const DeltaStepArgs& step) {
  if (step.delta.shape.n_heads == step.delta.shape.n_kv) return delta_step_of<1>(queue, step);
  delta_step_of<4>(queue, step);
}

}  // namespace dslad::kernels::cuda
