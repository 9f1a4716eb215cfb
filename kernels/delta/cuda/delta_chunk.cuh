// The chunk form of delta_rule.h on a CUDA device: pieces of several rows.
//
// With p_t the gates' product from the chunk's start up to token t, p_tu = p_t / p_u, and S the state before
// the chunk, token t adds k_t u_t^T, where
//
//   u_t + beta_t sum_u<t p_tu (k_t . k_u) u_u = beta_t (v_t - p_t S^T k_t)
//
// a unit lower triangular system, (I + L) U = diag(beta) (V - diag(p) K S), and with A_tu = p_tu (q_t . k_u)
// for u <= t
//
//   O = diag(p) Q S + A U
//   S <- p_32 S + (diag(p_32,t) K)^T U
//
// DeltaScores makes T = (I + L)^-1 diag(beta) and A of all chunks at once, DeltaChunk the rest, one after
// another. Products with the state are of float32 in two bf16 parts (mma.h), those with T and A of float32; a
// sum that goes into a state is added in float32, as tensor cores truncate and a state lives long.
#pragma once

#include "kernels/cuda/mma.h"
#include "kernels/delta/cuda/delta_scores.cuh"

namespace dslad::kernels::cuda {

// Bound by the latency of its steps. A block has kColumns columns of the state of one piece and KV head,
// transposed: each warp kOwn of the channels, in registers. Keys and queries come from memory straight into
// fragments: of each row eight channels side by side, which no other warp of the block wants.
template <int kWarps>
struct DeltaChunk {
  using Args = DeltaRuleOnDevice;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kOwn = 32;
  static constexpr int kChannels = kWarps * kOwn;  // d_k at most
  static constexpr int kColumns = 32;
  static constexpr int kParts = 2;
  static constexpr int kTokens = kDeltaChunk;
  static constexpr int kRowsEach = kTokens / kWarps;  // tokens w, w + kWarps and so on of a warp's
  static_assert(kColumns == kWarp);                   // of these a lane has one column

  struct Shared {
    float system[kTokens][kTokens];
    float score[kTokens][kTokens];  // of one query head
    float from_start[kTokens], to_end[kTokens], key[kTokens], query[kTokens];
    float wanted[kTokens][kColumns];             // V - diag(p) K S
    float added[kTokens][kColumns];              // U
    float found[kWarps][kTokens][kColumns + 1];  // K S or Q S, by warp
  };

  static Grid grid(const Args& step) {
    const DslaShape& shape = step.args.shape;
    return {static_cast<std::int64_t>(step.args.pieces.size()), shape.n_kv,
            (shape.d_v + kColumns - 1) / kColumns, sizeof(Shared)};
  }

  static DSLAD_DEVICE void run(const Args& step) {
    const DslaPiece piece = step.args.pieces.data()[block_index().x];
    if (piece.rows < 2) return;
    const Head head{step.args, piece, static_cast<int>(block_index().y),
                    static_cast<int>(block_index().z) * kColumns, *dynamic_shared<Shared>()};
    State state;
    head.each_state([](float& x, float* memory) { x = memory == nullptr ? 0.0f : *memory; }, state);
    for (std::int64_t chunk = 0; chunk * kTokens < piece.rows; ++chunk) {
      const DeltaTokens tokens(piece, chunk);
      head.stage(delta_head_scores(step, block_index().x, chunk, head.head));
      sync_block();
      head.find(state, head.keys(tokens), tokens.tokens, head.shared.key);
      sync_block();
      head.want(tokens);
      sync_block();
      head.solve();
      sync_block();
      for (int g = 0; g < head.group(); ++g) {
        const int query_head = head.head * head.group() + g;
        head.stage_query(delta_query_scores(step, block_index().x, chunk, query_head));
        sync_block();
        head.find(state, head.queries(tokens, query_head), tokens.tokens, head.shared.query);
        sync_block();
        head.write(tokens, query_head);
        sync_block();  // the query's scores may be another's
      }
      head.update(tokens, state);
      sync_block();  // what was staged has been used
    }
    head.each_state(
        [](float& x, float* memory) {
          if (memory != nullptr) *memory = x;
        },
        state);
  }

 private:
  // [m, n, .]: fragments of 16 columns by eight channels of this warp's share, S transposed.
  struct State {
    float at[kColumns / 16][kOwn / 8][4];
  };
  // A head's channels of a token, and those of the next one a stride further.
  struct Rows {
    const float* first;
    std::int64_t stride;
  };

  struct Head {
    const DeltaRuleArgs& args;
    const DslaPiece& piece;
    int head, first_column;
    Shared& shared;

    [[nodiscard]] DSLAD_DEVICE int group() const { return args.shape.n_heads / args.shape.n_kv; }
    [[nodiscard]] DSLAD_DEVICE int warp() const { return thread_index() / kWarp; }
    [[nodiscard]] DSLAD_DEVICE int lane() const { return thread_index() % kWarp; }
    [[nodiscard]] DSLAD_DEVICE int first_channel() const { return warp() * kOwn; }

    [[nodiscard]] DSLAD_DEVICE Rows keys(const DeltaTokens& tokens) const {
      return {args.k + tokens.first_row * args.k_stride + std::int64_t{head} * args.shape.d_k, args.k_stride};
    }
    [[nodiscard]] DSLAD_DEVICE Rows queries(const DeltaTokens& tokens, int query_head) const {
      return {args.q + tokens.first_row * args.q_stride + std::int64_t{query_head} * args.shape.d_k,
              args.q_stride};
    }

    // f(element, its place in the piece's state or null) for all of this lane's elements.
    template <class F>
    DSLAD_DEVICE void each_state(const F& f, State& state) const {
      const int d_k = args.shape.d_k, d_v = args.shape.d_v;
      DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
        DSLAD_UNROLL for (int n = 0; n < kOwn / 8; ++n) {
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            const int column = first_column + m * 16 + lane() / 4 + j / 2 * 8;
            const int a = first_channel() + n * 8 + lane() % 4 * 2 + j % 2;
            float* const memory = piece.state + (std::int64_t{head} * d_k + a) * d_v + column;
            f(state.at[m][n][j], column < d_v && a < d_k ? memory : nullptr);
          }
        }
      }
    }

    DSLAD_DEVICE void stage(const DeltaHeadScores& scores) const {
      copy(scores.system, shared.system);
      const int t = thread_index();
      if (t >= kTokens) return;
      shared.from_start[t] = scores.from_start[t];
      shared.to_end[t] = scores.to_end[t];
      shared.key[t] = scores.key[t];
    }
    DSLAD_DEVICE void stage_query(const DeltaQueryScores& scores) const {
      copy(scores.score, shared.score);
      if (thread_index() < kTokens) shared.query[thread_index()] = scores.query[thread_index()];
    }
    static DSLAD_DEVICE void copy(const float (&from)[kTokens][kTokens], float (&to)[kTokens][kTokens]) {
      for (int item = thread_index(); item < kTokens * kTokens; item += kThreads)
        to[item / kTokens][item % kTokens] = from[item / kTokens][item % kTokens];
    }

    // This warp's part of X S, transposed: [columns, channels] x [channels, tokens].
    DSLAD_DEVICE void find(const State& state, const Rows& rows, int tokens, const float* factors) const {
      const int d_k = args.shape.d_k;
      float out[kColumns / 16][kTokens / 8][4] = {};
      DSLAD_UNROLL for (int c = 0; c < kOwn; c += 16) {
        FragmentA<kParts> part[kColumns / 16];
        DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
          DSLAD_UNROLL for (int r = 0; r < 4; ++r) {
            const auto& from = state.at[m][c / 8 + r / 2];
            split<kParts>(from[r % 2 * 2], from[r % 2 * 2 + 1], part[m].part, r);
          }
        }
        DSLAD_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
          const auto x = fragment_b<kParts>([&](int k, int column) {
            const int a = first_channel() + c + k, t = 8 * n + column;
            const float* at = rows.first + t * rows.stride + a;
            const float by = factors[t];
            return Pair{t < tokens && a < d_k ? by * at[0] : 0.0f,
                        t < tokens && a + 1 < d_k ? by * at[1] : 0.0f};
          });
          DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) multiply(out[m][n], part[m], x);
        }
      }
      DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
        DSLAD_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            shared.found[warp()][8 * n + lane() % 4 * 2 + j % 2][m * 16 + lane() / 4 + j / 2 * 8] =
                out[m][n][j];
          }
        }
      }
    }

    // p_t times what all warps found, in their order: of this lane's column.
    [[nodiscard]] DSLAD_DEVICE float found(int t) const {
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += shared.found[w][t][lane()];
      return shared.from_start[t] * sum;
    }

    DSLAD_DEVICE void want(const DeltaTokens& tokens) const {
      const int column = first_column + lane();
      const float* v =
          args.v + tokens.first_row * args.v_stride + std::int64_t{head} * args.shape.d_v + column;
      for (int t = warp(); t < kTokens; t += kWarps) {
        const float value = t < tokens.tokens && column < args.shape.d_v ? v[t * args.v_stride] : 0.0f;
        shared.wanted[t][lane()] = value - found(t);
      }
    }

    // sums[i] += sum_u<=t matrix[t, u] x[u, .] for the warp's tokens t and the lane's column.
    DSLAD_DEVICE void add_product(const float (&matrix)[kTokens][kTokens],
                                  const float (&x)[kTokens][kColumns], float (&sums)[kRowsEach]) const {
      for (int u = 0; u < kTokens; ++u) {
        const float value = x[u][lane()];
        DSLAD_UNROLL for (int i = 0; i < kRowsEach; ++i) {
          const int t = warp() + i * kWarps;
          if (u <= t) sums[i] += matrix[t][u] * value;  // NaN of later tokens is theirs alone
        }
      }
    }

    DSLAD_DEVICE void solve() const {
      float sums[kRowsEach] = {};
      add_product(shared.system, shared.wanted, sums);
      DSLAD_UNROLL for (int i = 0; i < kRowsEach; ++i) shared.added[warp() + i * kWarps][lane()] = sums[i];
    }

    DSLAD_DEVICE void write(const DeltaTokens& tokens, int query_head) const {
      float sums[kRowsEach];
      DSLAD_UNROLL for (int i = 0; i < kRowsEach; ++i) sums[i] = found(warp() + i * kWarps);
      add_product(shared.score, shared.added, sums);
      const int column = first_column + lane();
      float* o =
          args.o + tokens.first_row * args.o_stride + std::int64_t{query_head} * args.shape.d_v + column;
      DSLAD_UNROLL for (int i = 0; i < kRowsEach; ++i) {
        const int t = warp() + i * kWarps;
        if (t < tokens.tokens && column < args.shape.d_v) o[t * args.o_stride] = sums[i];
      }
    }

    // S <- p_32 S + keys^T U, transposed: [columns, tokens] x [tokens, channels].
    DSLAD_DEVICE void update(const DeltaTokens& tokens, State& state) const {
      const int d_k = args.shape.d_k;
      const Rows rows = keys(tokens);
      const float decay = shared.from_start[kTokens - 1];
      FragmentA<kParts> added[kTokens / 16][kColumns / 16];
      DSLAD_UNROLL for (int s = 0; s < kTokens / 16; ++s) {
        DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
          added[s][m] = fragment_a<kParts>([&](int row, int k) {
            const int t = 16 * s + k, column = m * 16 + row;
            return Pair{shared.added[t][column], shared.added[t + 1][column]};
          });
        }
      }
      DSLAD_UNROLL for (int n = 0; n < kOwn / 8; ++n) {
        float sums[kColumns / 16][4] = {};
        DSLAD_UNROLL for (int s = 0; s < kTokens / 16; ++s) {
          const auto key = fragment_b<kParts>([&](int k, int column) {
            const int a = first_channel() + n * 8 + column, first = 16 * s + k;
            const auto at = [&](int t) {
              return t < tokens.tokens && a < d_k
                         ? shared.to_end[t] * shared.key[t] * rows.first[t * rows.stride + a]
                         : 0.0f;
            };
            return Pair{at(first), at(first + 1)};
          });
          DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) multiply(sums[m], added[s][m], key);
        }
        DSLAD_UNROLL for (int m = 0; m < kColumns / 16; ++m) {
          DSLAD_UNROLL for (int j = 0; j < 4; ++j) {
            state.at[m][n][j] = decay * state.at[m][n][j] + sums[m][j];
          }
        }
      }
    }
  };
};

}  // namespace dslad::kernels::cuda
