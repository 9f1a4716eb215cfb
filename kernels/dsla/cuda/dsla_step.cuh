// The recurrence of dsla.h on a CUDA device, a token at a time: decode.
//
// Bound by memory: all states of a KV head are read and written once a token, 16 bytes a thread, in one pass
// that updates them and multiplies them by the queries. A block has kColumns columns of all states of one
// head of one piece: a thread has four of them and every kStripes-th row. What a piece leaves depends on the
// piece alone.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/vectors.h"
#include "kernels/dsla/cuda/gate.cuh"
#include "kernels/dsla/dsla.h"

namespace dslad::kernels::cuda {

struct DslaStepArgs {
  DslaArgs dsla;
  bool long_pieces = false;  // pieces of many rows too, row by row; else of one row alone
};

// kQueries: of the group's query heads, as many share a pass over the states; a larger group reads them
// again.
template <int kQueries>
struct DslaStep {
  using Args = DslaStepArgs;
  static constexpr int kThreads = 256;
  static constexpr int kColumns = 32;
  static constexpr int kLanes = kColumns / 4;         // threads side by side in a row of a state
  static constexpr int kStripes = kThreads / kLanes;  // rows at work at once
  static constexpr int kWarps = kThreads / kWarp;
  // Rows of all states that a thread loads before it uses the first; with many queries registers are short.
  static constexpr int kBatch = kQueries > 4 ? 2 : 4;

  static Grid grid(const Args& args) {
    const DslaShape& shape = args.dsla.shape;
    return {static_cast<std::int64_t>(args.dsla.pieces.size()), shape.n_kv,
            (shape.d_v + kColumns - 1) / kColumns,
            static_cast<std::size_t>(3 + 2 * kQueries) * static_cast<std::size_t>(shape.d_k) * sizeof(float)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DslaPiece piece = step.dsla.pieces.data()[block_index().x];
    if (piece.rows > 1 && !step.long_pieces) return;
    const int group = step.dsla.shape.n_heads / step.dsla.shape.n_kv;
    for (std::int64_t row = piece.first_row; row < piece.first_row + piece.rows; ++row) {
      for (int first = 0; first < group; first += kQueries) {
        const int queries = group - first < kQueries ? group - first : kQueries;
        const Columns columns(step.dsla, piece);
        Batch batch;
        columns.load(first_stripe(), batch);  // before gates are made: its latency passes behind them
        sync_block();                         // the former pass has read what is now written
        stage(step.dsla, row, first, queries);
        sync_block();
        Float4 sums[kQueries];
        pass(step.dsla, columns, row, first == 0, batch, sums);
        write(step.dsla, row, first, queries, sums);
      }
    }
  }

 private:
  struct Staged {
    float* key;    // [d_k]
    float* gate;   // [states, d_k], of two at most
    float* query;  // [kQueries, 2, d_k]: scaled, and by its head's mixture; 0 where there is no query
  };
  static DSLAD_DEVICE Staged staged(int d_k) {
    auto* memory = dynamic_shared<float>();
    return {memory, memory + d_k, memory + 3 * d_k};
  }

  static DSLAD_DEVICE int head() { return static_cast<int>(block_index().y); }

  static DSLAD_DEVICE void stage(const DslaArgs& args, std::int64_t row, int first, int queries) {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
    const Staged to = staged(d_k);
    const float scale = 1.0f / sqrtf(static_cast<float>(d_k));
    for (int a = thread_index(); a < d_k; a += kThreads) {
      to.key[a] = args.k[row * args.k_stride + std::int64_t{head()} * d_k + a];
      for (int i = 0; i < n_states; ++i) {
        const std::int64_t channel = (std::int64_t{i} * n_kv + head()) * d_k + a;
        to.gate[i * d_k + a] =
            expf(log_gate(args.z[row * args.z_stride + channel] + args.gate_bias[channel]));
      }
      for (int g = 0; g < kQueries; ++g) {
        const int query_head = head() * (n_heads / n_kv) + first + g;
        const float q =
            g < queries ? scale * args.q[row * args.q_stride + std::int64_t{query_head} * d_k + a] : 0.0f;
        for (int i = 0; i < n_states; ++i) {
          to.query[(g * 2 + i) * d_k + a] = g < queries ? q * args.mix[i * n_heads + query_head] : 0.0f;
        }
      }
    }
  }

  static DSLAD_DEVICE int first_stripe() { return thread_index() / kLanes; }

  struct Batch {
    Float4 at[kBatch][2];  // by state
  };

  // This thread's four columns of the head's states. No other thread touches them, so what it loads is what
  // it stored last.
  struct Columns {
    const DslaShape& shape;
    float* states;
    std::int64_t column, count;  // how many there are from `column` on
    bool aligned;

    DSLAD_DEVICE Columns(const DslaArgs& args, const DslaPiece& piece)
        : shape(args.shape),
          states(piece.state),
          column(block_index().z * kColumns + thread_index() % kLanes * 4),
          count(args.shape.d_v - column),
          aligned(rows_are_aligned(piece.state, args.shape.d_v)) {}

    [[nodiscard]] DSLAD_DEVICE float* address(int a, int i) const {
      return states + ((std::int64_t{i} * shape.n_kv + head()) * shape.d_k + a) * shape.d_v + column;
    }
    // Rows first, first + kStripes and so on.
    DSLAD_DEVICE void load(int first, Batch& batch) const {
      DSLAD_UNROLL for (int b = 0; b < kBatch; ++b) {
        const int a = first + b * kStripes;
        DSLAD_UNROLL for (int i = 0; i < 2; ++i) {
          if (i < shape.states) batch.at[b][i] = load4(address(a, i), a < shape.d_k ? count : 0, aligned);
        }
      }
    }
  };

  // One look at all states, whose first rows have been loaded; the first look of a token updates them.
  static DSLAD_DEVICE void pass(const DslaArgs& args, const Columns& columns, std::int64_t row, bool update,
                                Batch& batch, Float4 (&sums)[kQueries]) {
    const int d_k = args.shape.d_k, n_states = args.shape.states;
    const Staged from = staged(d_k);
    const Float4 v =
        load4(args.v + row * args.v_stride + std::int64_t{head()} * args.shape.d_v + columns.column,
              columns.count, false);
    for (Float4& sum : sums) sum = {};
    for (int first = first_stripe(); first < d_k; first += kBatch * kStripes) {
      if (first != first_stripe()) columns.load(first, batch);
      DSLAD_UNROLL for (int b = 0; b < kBatch; ++b) {
        const int a = first + b * kStripes;
        DSLAD_UNROLL for (int i = 0; i < 2; ++i) {
          if (a >= d_k || i >= n_states) continue;
          Float4& state = batch.at[b][i];
          if (update) {
            DSLAD_UNROLL for (int j = 0; j < 4; ++j) state.at[j] =
                from.gate[i * d_k + a] * state.at[j] + from.key[a] * v.at[j];
            store4(columns.address(a, i), state, columns.count, columns.aligned);
          }
          DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
            const float q = from.query[(g * 2 + i) * d_k + a];
            DSLAD_UNROLL for (int j = 0; j < 4; ++j) sums[g].at[j] += q * state.at[j];
          }
        }
      }
    }
  }

  struct Partial {
    Float4 of_warp[kWarps][kQueries][kLanes];
  };

  // The sums of all stripes: of a warp's four by shuffles, of the warps in their order.
  static DSLAD_DEVICE void write(const DslaArgs& args, std::int64_t row, int first, int queries,
                                 Float4 (&sums)[kQueries]) {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
    auto& partial = static_shared<Partial>();
    const int lane = thread_index() % kWarp, warp = thread_index() / kWarp;
    DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
      for (int j = 0; j < 4; ++j) {
        for (int mask = kLanes; mask < kWarp; mask *= 2) sums[g].at[j] += shuffle_xor(sums[g].at[j], mask);
      }
      if (lane < kLanes) partial.of_warp[warp][g][lane] = sums[g];
    }
    sync_block();
    for (int item = thread_index(); item < queries * kColumns; item += kThreads) {
      const int g = item / kColumns, c = item % kColumns;
      const std::int64_t column = block_index().z * kColumns + c;
      if (column >= d_v) continue;
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += partial.of_warp[w][g][c / 4].at[c % 4];
      const std::int64_t query_head = std::int64_t{head()} * (n_heads / n_kv) + first + g;
      args.o[row * args.o_stride + query_head * d_v + column] = sum;
    }
  }
};

template <class Queue>
void dsla_step(Queue& queue, const DslaStepArgs& args) {
  const int group = args.dsla.shape.n_heads / args.dsla.shape.n_kv;
  if (group == 1) return queue.template launch<DslaStep<1>>(args);
  if (group == 2) return queue.template launch<DslaStep<2>>(args);
  if (group <= 4) return queue.template launch<DslaStep<4>>(args);
  queue.template launch<DslaStep<8>>(args);
}

}  // namespace dslad::kernels::cuda
