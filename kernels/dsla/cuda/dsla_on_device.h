// dsla.h's arguments as a CUDA device takes them.
#pragma once

#include <cstddef>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels::cuda {

// Pieces are device memory, which the host does not read: it names limits instead, on which results do not
// depend. REQUIRES: pieces are in the order of their rows.
struct DslaOnDevice {
  DslaArgs args;
  std::int64_t most_rows;  // of a piece, at most
  float* workspace;        // dsla_workspace_bytes(); unused where no piece has two rows
  bool single_rows;        // whether a piece may be of one row
};

inline constexpr int kMaxChunkWidth = 256;  // d_k that the chunk form takes; wider states go row by row

inline std::int64_t most_sub_blocks(std::int64_t most_rows) {
  return (most_rows + kDslaSubBlock - 1) / kDslaSubBlock;
}

// Sub-blocks of all pieces that begin at earlier rows, at most: where a piece's own have their place.
constexpr std::int64_t sub_blocks_before(std::int64_t piece, std::int64_t first_row) {
  return first_row / kDslaSubBlock + piece;
}

// What a sub-block of a piece leaves in the workspace: scores of its tokens by query head, then sums of their
// log-gates by KV head and state.
constexpr std::int64_t dsla_score_floats(const DslaShape& shape) {
  return shape.n_heads * kDslaSubBlock * kDslaSubBlock;
}
constexpr std::int64_t dsla_sub_block_floats(const DslaShape& shape) {
  return dsla_score_floats(shape) + std::int64_t{shape.n_kv} * shape.states * kDslaSubBlock * shape.d_k;
}

// `rows`: of the step up to the last piece's end.
inline std::size_t dsla_workspace_bytes(const DslaShape& shape, std::int64_t rows, std::int64_t pieces) {
  return static_cast<std::size_t>(sub_blocks_before(pieces, rows) * dsla_sub_block_floats(shape)) *
         sizeof(float);
}

}  // namespace dslad::kernels::cuda
