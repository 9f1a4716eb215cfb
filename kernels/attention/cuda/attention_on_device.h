// attention.h's arguments as a CUDA device takes them.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/attention/attention.h"

namespace dslad::kernels::cuda {

// Pieces and their pages are device memory, which the host does not read: it names limits instead. They
// decide how many blocks look for work and how much workspace there is; results do not depend on them.
struct AttentionOnDevice {
  AttentionArgs args;
  std::int64_t most_rows;    // of a piece, at most
  std::int64_t most_tokens;  // context and rows of a piece, at most
  float* workspace;          // attention_workspace_bytes() of at_once pieces; unused where none decodes
  std::int64_t decoding;     // pieces in front that may be of a single row; those behind are not
  std::int64_t at_once;      // of those, that the workspace is for: the others follow in its place
};

// Whether the piece goes by the decode form.
constexpr bool is_decode(const AttentionPiece& piece) {
  return piece.rows == 1 && piece.silent == 0;
}

// Partitions of keys that a decode row may see.
inline std::int64_t most_partitions(const AttentionArgs& args, std::int64_t most_tokens) {
  const std::int64_t all = (most_tokens + kPartitionTokens - 1) / kPartitionTokens;
  if (args.window == 0) return all;
  return std::min(all, (args.window + kPartitionTokens - 1) / kPartitionTokens + 1);
}

// A partial result of each piece, query head and partition: largest score, sum, weighted values.
inline std::size_t attention_workspace_bytes(int n_heads, int head_dim, std::int64_t pieces,
                                             std::int64_t partitions) {
  return static_cast<std::size_t>(pieces * n_heads * partitions * (head_dim + 2)) * sizeof(float);
}

// As many partial results as keep a device busy for long.
inline constexpr std::size_t kMostAtOnceBytes = std::size_t{64} << 20;

// Of `pieces` that decode, those that do at once.
inline std::int64_t pieces_at_once(int n_heads, int head_dim, std::int64_t pieces, std::int64_t partitions) {
  const std::size_t each =
      std::max<std::size_t>(1, attention_workspace_bytes(n_heads, head_dim, 1, partitions));
  return std::min(pieces, std::max<std::int64_t>(1, static_cast<std::int64_t>(kMostAtOnceBytes / each)));
}

// For so many pieces at once, or fewer, of so many partitions, or fewer.
inline std::size_t most_attention_workspace_bytes(int n_heads, int head_dim, std::int64_t pieces,
                                                  std::int64_t partitions) {
  return std::min(attention_workspace_bytes(n_heads, head_dim, pieces, partitions),
                  std::max(kMostAtOnceBytes, attention_workspace_bytes(n_heads, head_dim, 1, partitions)));
}

}  // namespace dslad::kernels::cuda
