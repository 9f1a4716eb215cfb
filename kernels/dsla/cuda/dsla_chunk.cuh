// The chunk form of dsla.h on a CUDA device: pieces of several rows, all states in one pass.
//
// A chunk is one sub-block of 16 tokens, the depth of a tensor core's product: then every score is made
// element by element, exp(b_t - b_u) with its exponent <= 0 whatever the gates, and states stay in registers.
// With b from the sub-block's start:
//
//   A_tu = s sum_i mix_i sum_d q_td k_ud exp(b_i,td - b_i,ud)    u <= t
//   o    = s sum_i mix_i (q exp(b_i)) S_i + A v
//   S_i <- diag(exp(b_i,16)) S_i + (k exp(b_i,16 - b_i))^T v
//
// DslaScores makes b and A of all sub-blocks at once, DslaChunk the rest, one after another.
//
// Products are of float32 in two bf16 parts (mma.h); a sum that goes into a state is added in float32, as
// tensor cores truncate and a state lives long.
#pragma once

#include "kernels/cuda/mma.h"
#include "kernels/dsla/cuda/dsla_scores.cuh"

namespace dslad::kernels::cuda {

// Bound by the latency of its steps while there are few sequences, then by the tensor cores. A block has
// kColumns columns of all states of one piece and KV head, transposed: each warp 64 of the channels, in
// registers. Channels are those of all states, [kStates, kWidth], beyond d_k zeros.
template <int kWarps, int kStates>
struct DslaChunk {
  using Args = DslaOnDevice;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kOwn = 64;  // channels of a warp
  static constexpr int kChannels = kWarps * kOwn;
  static constexpr int kWidth = kChannels / kStates;  // d_k at most
  static constexpr int kColumns = 32;
  static constexpr int kParts = 2;

  struct Shared {
    float decay[kSubBlock][kChannels + 8];  // exp(b_t); the last row is the sub-block's whole decay
    float key[kSubBlock][kChannels + 8];    // k exp(b_16 - b_t)
    float query[kSubBlock][kWidth + 8];     // of one query head, scaled
    float value[kSubBlock][kColumns + 1];
    float score[kSubBlock][kSubBlock];
    float partial[kWarps][kSubBlock][kColumns + 1];  // of o, by warp
  };

  static Grid grid(const Args& step) {
    const DslaShape& shape = step.args.shape;
    return {static_cast<std::int64_t>(step.args.pieces.size()), shape.n_kv,
            (shape.d_v + kColumns - 1) / kColumns, sizeof(Shared)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DslaPiece piece = step.args.pieces.data()[block_index().x];
    if (piece.rows < 2) return;
    const Head head{step, piece, static_cast<int>(block_index().y),
                    static_cast<int>(block_index().z) * kColumns, *dynamic_shared<Shared>()};
    States states;
    head.each_state([&](float& state, float* memory) { state = memory == nullptr ? 0.0f : *memory; }, states);
    for (std::int64_t index = 0; index * kSubBlock < piece.rows; ++index) {
      const DslaSubBlock block(piece, index);
      head.stage(block, index);
      for (int g = 0; g < head.group(); ++g) {
        head.stage_query(block, index, g);
        sync_block();
        head.read(states, g);
        sync_block();
        head.write(block, g);
      }
      head.update(states);
      sync_block();  // what was staged has been used
    }
    head.each_state(
        [](float& state, float* memory) {
          if (memory != nullptr) *memory = state;
        },
        states);
  }

 private:
  // [m, n, .]: fragments of 16 columns by eight channels of this warp's share, S transposed.
  struct States {
    float at[kColumns / 16][kOwn / 8][4];
  };

  struct Head {
    const Args& step;
    const DslaPiece& piece;
    int head, first_column;
    Shared& shared;

    [[nodiscard]] DSLAD_DEVICE const DslaArgs& args() const { return step.args; }
    [[nodiscard]] DSLAD_DEVICE int group() const { return args().shape.n_heads / args().shape.n_kv; }
    [[nodiscard]] DSLAD_DEVICE int first_channel() const { return thread_index() / kWarp * kOwn; }

    // f(element, its place in the piece's state or null) for all of this lane's elements.
    template <class F>
    DSLAD_DEVICE void each_state(const F& f, States& states) const {
      const auto [n_heads, n_kv, d_k, d_v, n_states] = args().shape;
      const int lane = thread_index() % kWarp;
      DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
        DSLAD_UNROLL for (int n = 0; n < kOwn / 8; ++n) {
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            const int column = first_column + m * 16 + lane / 4 + j / 2 * 8;
            const int channel = first_channel() + n * 8 + lane % 4 * 2 + j % 2;
            const int i = channel / kWidth, a = channel % kWidth;
            const std::int64_t row = (std::int64_t{i} * n_kv + head) * d_k + a;
            f(states.at[m][n][j], column < d_v && a < d_k ? piece.state + row * d_v + column : nullptr);
          }
        }
      }
    }

    // Decays, keys and values of a sub-block; tokens beyond its end leave everything as it is.
    DSLAD_DEVICE void stage(const DslaSubBlock& block, std::int64_t index) const {
      const int d_k = args().shape.d_k, d_v = args().shape.d_v;
      for (int channel = thread_index(); channel < kChannels; channel += kThreads) {
        const int i = channel / kWidth, a = channel % kWidth;
        const float* log_sums = log_sums_of(step, block_index().x, index, head, i) + a;
        const float sum = a < d_k ? log_sums[(block.tokens - 1) * d_k] : 0.0f;
        for (int t = 0; t < kSubBlock; ++t) {
          const bool present = t < block.tokens && a < d_k;
          const std::int64_t from = (block.first_row + t) * args().k_stride + std::int64_t{head} * d_k + a;
          const float k = present ? args().k[from] : 0.0f, log_sum = present ? log_sums[t * d_k] : sum;
          shared.decay[t][channel] = expf(log_sum);
          shared.key[t][channel] = k * expf(sum - log_sum);
        }
      }
      for (int item = thread_index(); item < kSubBlock * kColumns; item += kThreads) {
        const int t = item / kColumns, column = first_column + item % kColumns;
        shared.value[t][item % kColumns] =
            t < block.tokens && column < d_v
                ? args().v[(block.first_row + t) * args().v_stride + std::int64_t{head} * d_v + column]
                : 0.0f;
      }
    }

    DSLAD_DEVICE void stage_query(const DslaSubBlock& block, std::int64_t index, int g) const {
      const int d_k = args().shape.d_k, query_head = head * group() + g;
      const float scale = 1.0f / sqrtf(static_cast<float>(d_k));
      for (int item = thread_index(); item < kSubBlock * kWidth; item += kThreads) {
        const int t = item / kWidth, a = item % kWidth;
        shared.query[t][a] =
            t < block.tokens && a < d_k
                ? scale *
                      args().q[(block.first_row + t) * args().q_stride + std::int64_t{query_head} * d_k + a]
                : 0.0f;
      }
      const float* scores = scores_of(step, block_index().x, index, query_head);
      for (int item = thread_index(); item < kSubBlock * kSubBlock; item += kThreads) {
        shared.score[item / kSubBlock][item % kSubBlock] = scores[item];
      }
    }

    // This warp's part of (q exp(b)) S, transposed: [columns, channels] x [channels, tokens].
    DSLAD_DEVICE void read(const States& states, int g) const {
      const int n_heads = args().shape.n_heads;
      const float mix =
          args().mix[first_channel() / kWidth * n_heads + head * group() + g];  // a warp has one state's
      float out[kColumns / 16][kSubBlock / 8][4] = {};
      DSLAD_UNROLL for (int c = 0; c < kOwn; c += 16) {
        FragmentA<kParts> state[kColumns / 16];
        DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
          DSLAD_UNROLL for (int r = 0; r < 4; ++r) {
            const auto& from = states.at[m][c / 8 + r / 2];
            split<kParts>(from[r % 2 * 2], from[r % 2 * 2 + 1], state[m].part, r);
          }
        }
        DSLAD_UNROLL for (int n = 0; n < kSubBlock / 8; ++n) {
          const auto far = fragment_b<kParts>([&](int k, int column) {
            const int channel = first_channel() + c + k, token = 8 * n + column;
            const float* q = &shared.query[token][channel % kWidth];
            const float* decay = &shared.decay[token][channel];
            return Pair{mix * q[0] * decay[0], mix * q[1] * decay[1]};
          });
          DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) multiply(out[m][n], state[m], far);
        }
      }
      const int lane = thread_index() % kWarp;
      DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
        DSLAD_UNROLL for (int n = 0; n < kSubBlock / 8; ++n) {
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            shared.partial[thread_index() / kWarp][8 * n + lane % 4 * 2 + j % 2]
                          [m * 16 + lane / 4 + j / 2 * 8] = out[m][n][j];
          }
        }
      }
    }

    // o = the warps' parts in their order, and A v.
    DSLAD_DEVICE void write(const DslaSubBlock& block, int g) const {
      const int d_v = args().shape.d_v;
      for (int item = thread_index(); item < block.tokens * kColumns; item += kThreads) {
        const int t = item / kColumns, c = item % kColumns;
        if (first_column + c >= d_v) continue;
        float sum = 0;
        for (int w = 0; w < kWarps; ++w) sum += shared.partial[w][t][c];
        for (int u = 0; u <= t; ++u) sum += shared.score[t][u] * shared.value[u][c];
        const std::int64_t at = (std::int64_t{head} * group() + g) * d_v + first_column + c;
        args().o[(block.first_row + t) * args().o_stride + at] = sum;
      }
      sync_block();  // the query may be another's
    }

    // S <- diag(decay) S + keys^T values, transposed: [columns, tokens] x [tokens, channels].
    DSLAD_DEVICE void update(States& states) const {
      FragmentA<kParts> value[kColumns / 16];
      DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
        value[m] = fragment_a<kParts>([&](int row, int k) {
          return Pair{shared.value[k][m * 16 + row], shared.value[k + 1][m * 16 + row]};
        });
      }
      DSLAD_UNROLL for (int n = 0; n < kOwn / 8; ++n) {
        const int channel = first_channel() + n * 8;
        const auto key = fragment_b<kParts>([&](int k, int column) {
          return Pair{shared.key[k][channel + column], shared.key[k + 1][channel + column]};
        });
        const float* decay = &shared.decay[kSubBlock - 1][channel + thread_index() % 4 * 2];
        DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
          float added[4] = {};
          multiply(added, value[m], key);
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            states.at[m][n][j] = decay[j % 2] * states.at[m][n][j] + added[j];
          }
        }
      }
    }
  };
};

}  // namespace dslad::kernels::cuda
