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
  float* workspace;          // attention_workspace_bytes()
};

// Partitions of keys that a decode row may see.
inline std::int64_t most_partitions(const AttentionArgs& args, std::int64_t most_tokens) {
  const std::int64_t all = (most_tokens + kPartitionTokens - 1) / kPartitionTokens;
  if (args.window == 0) return all;
  return std::min(all, (args.window + kPartitionTokens - 1) / kPartitionTokens + 1);
}

// A partial result of each piece, query head and partition: largest score, sum, weighted values.
inline std::size_t attention_workspace_bytes(const AttentionArgs& args, std::int64_t most_tokens) {
  return args.pieces.size() * static_cast<std::size_t>(args.n_heads) *
         static_cast<std::size_t>(most_partitions(args, most_tokens) * (args.layout.head_dim + 2)) *
         sizeof(float);
}

}  // namespace dslad::kernels::cuda
