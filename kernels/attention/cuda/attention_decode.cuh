// attention.h on a CUDA device, for pieces of one row: decode, split over the context.
//
// Bound by memory: keys and values are read once for up to kQueries query heads of the group, 16 bytes a
// thread. A block has one partition of kPartitionTokens keys of one piece and KV head and leaves an
// unnormalised result; a second kernel merges them in the order of the partitions. A row's result depends on
// its own tokens alone.
#pragma once

#include <cmath>

#include "kernels/attention/cuda/attention_on_device.h"
#include "kernels/attention/cuda/page.cuh"
#include "kernels/cuda/reduce.h"

namespace dslad::kernels::cuda {

// The tokens that a decode row sees, [oldest, end).
struct SeenTokens {
  std::int64_t oldest, end;
  DSLAD_DEVICE SeenTokens(const AttentionArgs& args, const AttentionPiece& piece)
      : oldest(args.window == 0 || piece.context + 1 < args.window ? 0 : piece.context + 1 - args.window),
        end(piece.context + 1) {}
  [[nodiscard]] DSLAD_DEVICE std::int64_t first_partition() const { return oldest / kPartitionTokens; }
  [[nodiscard]] DSLAD_DEVICE std::int64_t partitions() const {
    return (end + kPartitionTokens - 1) / kPartitionTokens - first_partition();
  }
};

// {largest score, sum, values [d]} of a partition, counted from the first that the row sees.
DSLAD_DEVICE float* partial_result(const AttentionOnDevice& step, std::int64_t piece, std::int64_t head,
                                   std::int64_t partition, std::int64_t partitions) {
  return step.workspace +
         ((piece * step.args.n_heads + head) * partitions + partition) * (step.args.layout.head_dim + 2);
}

struct DecodeArgs {
  AttentionOnDevice step;
  std::int64_t partitions;  // room for so many in the workspace
};

template <class T, int kQueries>
struct AttendPartition {
  using Args = DecodeArgs;
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kTokens = static_cast<int>(kPartitionTokens);
  static constexpr int kColumns = kTokens / 8;         // threads side by side, each with eight tokens
  static constexpr int kShares = kThreads / kColumns;  // threads that share these tokens' channels

  static Grid grid(const Args& args) {
    const AttentionArgs& a = args.step.args;
    const int passes = (a.n_heads / a.layout.n_kv + kQueries - 1) / kQueries;
    return {static_cast<std::int64_t>(a.pieces.size()), std::int64_t{a.layout.n_kv} * passes, args.partitions,
            (static_cast<std::size_t>(kQueries) * static_cast<std::size_t>(kTokens + a.layout.head_dim) +
             std::size_t{8} * kThreads) *
                sizeof(float)};
  }

  static DSLAD_DEVICE void run(const Args& args) {
    const AttentionArgs& a = args.step.args;
    const AttentionPiece piece = a.pieces.data()[block_index().x];
    const SeenTokens seen(a, piece);
    if (!is_decode(piece) || block_index().z >= seen.partitions()) return;
    const std::int64_t begin = (seen.first_partition() + block_index().z) * kTokens;
    const Block block{args, piece, begin, seen.oldest > begin ? static_cast<int>(seen.oldest - begin) : 0,
                      seen.end - begin < kTokens ? static_cast<int>(seen.end - begin) : kTokens};
    block.stage_queries();
    sync_block();
    block.score();
    block.weigh();
    sync_block();
    block.sum_values();
  }

 private:
  struct Block {
    const Args& args;
    const AttentionPiece& piece;
    std::int64_t begin;  // first token of the partition
    int first, last;     // of its tokens those that count, [first, last)

    // Shared memory.
    [[nodiscard]] DSLAD_DEVICE float* scores(int g) const { return dynamic_shared<float>() + g * kTokens; }
    [[nodiscard]] DSLAD_DEVICE float* query(int g) const { return scores(kQueries) + g * d(); }
    [[nodiscard]] DSLAD_DEVICE float* shares() const { return query(kQueries); }  // [kThreads, 8]

    [[nodiscard]] DSLAD_DEVICE const AttentionArgs& a() const { return args.step.args; }
    [[nodiscard]] DSLAD_DEVICE int d() const { return a().layout.head_dim; }
    [[nodiscard]] DSLAD_DEVICE int group() const { return a().n_heads / a().layout.n_kv; }
    [[nodiscard]] DSLAD_DEVICE int passes() const { return (group() + kQueries - 1) / kQueries; }
    [[nodiscard]] DSLAD_DEVICE int kv_head() const { return static_cast<int>(block_index().y) / passes(); }
    [[nodiscard]] DSLAD_DEVICE int first_query() const {
      return static_cast<int>(block_index().y) % passes() * kQueries;
    }
    [[nodiscard]] DSLAD_DEVICE int queries() const {
      return group() - first_query() < kQueries ? group() - first_query() : kQueries;
    }
    [[nodiscard]] DSLAD_DEVICE std::int64_t query_head(int g) const {
      return std::int64_t{kv_head()} * group() + first_query() + g;
    }
    [[nodiscard]] DSLAD_DEVICE float* partial(int g) const {
      return partial_result(args.step, block_index().x, query_head(g), block_index().z, args.partitions);
    }

    DSLAD_DEVICE void stage_queries() const {
      for (int i = thread_index(); i < kQueries * d(); i += kThreads) {
        const int g = i / d(), c = i % d();
        query(0)[i] = g < queries()
                          ? a().scale * a().q[piece.first_row * a().q_stride + query_head(g) * d() + c]
                          : 0.0f;
      }
    }

    // Each thread has eight tokens and a share of their channels; the shares are added in their order.
    DSLAD_DEVICE void score() const {
      const int token = thread_index() % kColumns * 8, share = thread_index() / kColumns;
      float sums[kQueries][8] = {};
      if (token < last && token + 8 > first) {
        const int channels = (d() + kShares - 1) / kShares, end = channels * (share + 1);
        const T* key = key_of<T>(a(), piece, kv_head(), begin + token);
        for (int c = channels * share; c < (end < d() ? end : d()); ++c) {
          const Float8 k = load8(key + c * kPageTokens);
          DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
            const float q = query(g)[c];
            DSLAD_UNROLL for (int j = 0; j < 8; ++j) sums[g][j] += q * k.at[j];
          }
        }
      }
      for (int turn = 0; turn < kShares; ++turn) {
        if (share == turn) {
          DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
            DSLAD_UNROLL for (int j = 0; j < 8; ++j) {
              float& score = scores(g)[token + j];
              score = turn == 0 ? sums[g][j] : score + sums[g][j];
            }
          }
        }
        sync_block();
      }
    }

    // A warp for each query: scores become weights, 0 where a token is not seen, whatever its slot holds.
    DSLAD_DEVICE void weigh() const {
      const int lane = thread_index() % kWarp;
      for (int g = thread_index() / kWarp; g < queries(); g += kWarps) {
        float largest = -INFINITY, sum = 0;
        for (int t = lane; t < kTokens; t += kWarp) {
          if (t >= first && t < last) largest = larger(largest, scores(g)[t]);
        }
        largest = warp_max(largest);
        for (int t = lane; t < kTokens; t += kWarp) {
          float& score = scores(g)[t];
          score = t >= first && t < last ? expf(score - largest) : 0.0f;
          sum += score;
        }
        sum = warp_sum(sum);
        if (lane == 0) {
          partial(g)[0] = largest;
          partial(g)[1] = sum;
        }
      }
    }

    // Each thread has eight channels and every stripes-th token.
    DSLAD_DEVICE void sum_values() const {
      const int columns = (d() + 7) / 8, stripes = kThreads / columns;
      const int column = thread_index() % columns, stripe = thread_index() / columns;
      float sums[kQueries][8] = {};
      if (stripe < stripes) {
        for (int t = first + stripe; t < last; t += stripes) {
          const Float8 v = load_values(value_of<T>(a(), piece, kv_head(), begin + t), column * 8, d());
          DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
            const float p = scores(g)[t];
            DSLAD_UNROLL for (int j = 0; j < 8; ++j) sums[g][j] += p * v.at[j];
          }
        }
      }
      DSLAD_UNROLL for (int g = 0; g < kQueries; ++g) {
        if (g >= queries()) break;
        DSLAD_UNROLL for (int j = 0; j < 8; ++j) shares()[thread_index() * 8 + j] = sums[g][j];
        sync_block();
        for (int c = thread_index(); c < d(); c += kThreads) {
          float sum = 0;
          for (int s = 0; s < stripes; ++s) sum += shares()[(s * columns + c / 8) * 8 + c % 8];
          partial(g)[2 + c] = sum;
        }
        sync_block();
      }
    }
  };
};

// Merges the partitions of a row in their order. A block has one query head.
struct MergePartitions {
  using Args = DecodeArgs;
  static constexpr int kThreads = 128;

  static Grid grid(const Args& args) {
    return {static_cast<std::int64_t>(args.step.args.pieces.size()), args.step.args.n_heads};
  }

  static DSLAD_DEVICE void run(const Args& args) {
    const AttentionArgs& a = args.step.args;
    const AttentionPiece piece = a.pieces.data()[block_index().x];
    if (!is_decode(piece)) return;
    const std::int64_t partitions = SeenTokens(a, piece).partitions(), d = a.layout.head_dim;
    const float* results = partial_result(args.step, block_index().x, block_index().y, 0, args.partitions);
    float largest = -INFINITY;
    for (std::int64_t p = 0; p < partitions; ++p) largest = larger(largest, results[p * (d + 2)]);
    for (std::int64_t c = thread_index(); c < d; c += kThreads) {
      float sum = 0, value = 0;
      for (std::int64_t p = 0; p < partitions; ++p) {
        const float* result = results + p * (d + 2);
        const float factor = expf(result[0] - largest);
        sum += factor * result[1];
        value += factor * result[2 + c];
      }
      a.o[piece.first_row * a.o_stride + block_index().y * d + c] = value / sum;
    }
  }
};

}  // namespace dslad::kernels::cuda
