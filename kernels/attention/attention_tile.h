// The unit of attention's work on the CPU: some query rows of one KV head against one partition of keys.
//
// A result is unnormalised, so that partial ones can be merged in the order of their partitions. Merging is
// the same arithmetic whoever does it when: how work is split never shows in the output.
// Internal to kernels/attention. Thread safety: functions of their arguments alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attention/attention.h"

namespace dslad::kernels {

// Queries of one KV head, numbered row-major over [piece.rows, group]: they share every key and value.
struct AttentionTile {
  const AttentionArgs* args;
  const AttentionPiece* piece;
  int kv_head;
  std::int64_t first, count;  // count <= tile_queries()

  [[nodiscard]] int group() const { return args->n_heads / args->layout.n_kv; }
  // Tokens that query i of the tile may read, [oldest, visible): all up to its own, or the latest of them.
  [[nodiscard]] std::int64_t visible(std::int64_t i) const {
    return piece->context + (first + i) / group() + 1;
  }
  [[nodiscard]] std::int64_t oldest(std::int64_t i) const {
    return args->window == 0 ? 0 : std::max<std::int64_t>(0, visible(i) - args->window);
  }
  // Those that hold a token which some query of the tile sees, [first_partition, end_partition).
  [[nodiscard]] std::int64_t first_partition() const { return oldest(0) / kPartitionTokens; }
  [[nodiscard]] std::int64_t end_partition() const {
    return (visible(count - 1) + kPartitionTokens - 1) / kPartitionTokens;
  }
  [[nodiscard]] const float* query(std::int64_t i) const {
    return args->q + (piece->first_row + (first + i) / group()) * args->q_stride + channel(i);
  }
  [[nodiscard]] float* output(std::int64_t i) const {
    return args->o + (piece->first_row + (first + i) / group()) * args->o_stride + channel(i);
  }

 private:
  [[nodiscard]] std::int64_t channel(std::int64_t i) const {
    return (std::int64_t{kv_head} * group() + (first + i) % group()) * args->layout.head_dim;
  }
};

// Online softmax of `count` queries over some keys; sum 0 where none of them was visible.
struct SoftmaxPartial {
  float* sums;     // [count] of exp(score - largest)
  float* largest;  // [count] score
  float* values;   // [count, d] sum of exp(score - largest) * v

  static std::int64_t floats(std::int64_t count, int d) { return count * (d + 2); }
  static SoftmaxPartial at(float* memory, std::int64_t count) {
    return {memory, memory + count, memory + 2 * count};
  }
};

// Queries of a tile, at most, and of the tiles of one piece.
inline constexpr std::int64_t kTileQueries = 48;
std::int64_t tile_queries(const AttentionArgs& args, const AttentionPiece& piece);

// Floats of workspace that attend_tile needs for pages of that layout; 64-byte aligned.
std::int64_t attend_tile_workspace(const KvLayout& layout);

// Attends to one partition of the tile's sequence; out is overwritten. REQUIRES: it is in
// [first_partition, end_partition).
void attend_tile(const AttentionTile& tile, std::int64_t partition, SoftmaxPartial out, float* workspace);

// into <- into merged with the partial result of later keys.
void merge_partial(const AttentionTile& tile, SoftmaxPartial into, SoftmaxPartial later);

// Normalises and writes the tile's rows of o.
void write_output(const AttentionTile& tile, SoftmaxPartial result);

}  // namespace dslad::kernels
