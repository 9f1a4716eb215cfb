// dsla.h's arguments as a CUDA device takes them.
#pragma once

#include <cstddef>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels::cuda {

// Pieces are device memory, which the host does not read: it names a limit instead, on which results do not
// depend.
struct DslaOnDevice {
  DslaArgs args;
  std::int64_t most_rows;  // of a piece, at most
  float* workspace;        // dsla_workspace_bytes(); unused where no piece has two rows
};

inline constexpr int kMaxChunkWidth = 256;  // d_k that the chunk form takes; wider states go row by row

inline std::int64_t most_sub_blocks(std::int64_t most_rows) {
  return (most_rows + kDslaSubBlock - 1) / kDslaSubBlock;
}

// Scores of each token of each piece with the tokens of its sub-block, by query head.
inline std::size_t dsla_workspace_bytes(const DslaArgs& args, std::int64_t most_rows) {
  if (most_rows < 2) return 0;
  return args.pieces.size() * static_cast<std::size_t>(most_sub_blocks(most_rows)) *
         static_cast<std::size_t>(args.shape.n_heads) * kDslaSubBlock * kDslaSubBlock * sizeof(float);
}

}  // namespace dslad::kernels::cuda
