// delta_rule.h's arguments as a CUDA device takes them.
#pragma once

#include <cstddef>

#include "kernels/delta/delta_rule.h"
#include "kernels/rows.h"

namespace dslad::kernels::cuda {

// Pieces are device memory, which the host does not read: it names limits instead, on which results do not
// depend. REQUIRES: pieces are in the order of their rows.
struct DeltaRuleOnDevice {
  DeltaRuleArgs args;
  std::int64_t most_rows;  // of a piece, at most
  float* workspace;        // delta_workspace_bytes(); unused where no piece has two rows
  bool single_rows;        // whether a piece may be of one row
};

inline constexpr int kDeltaChunk = 32;       // tokens
inline constexpr int kMostDeltaWidth = 256;  // d_k that the chunk form takes; wider states go row by row
static_assert(kPieceRows % kDeltaChunk == 0);

inline std::int64_t most_delta_chunks(std::int64_t most_rows) {
  return (most_rows + kDeltaChunk - 1) / kDeltaChunk;
}

// Chunks of all pieces that begin at earlier rows, at most: where a piece's own have their place.
constexpr std::int64_t delta_chunks_before(std::int64_t piece, std::int64_t first_row) {
  return first_row / kDeltaChunk + piece;
}

// What a chunk of a piece leaves in the workspace (delta_scores.cuh), of each KV head and of each query head.
inline constexpr std::int64_t kDeltaHeadFloats = (kDeltaChunk + 3) * kDeltaChunk;
inline constexpr std::int64_t kDeltaQueryFloats = (kDeltaChunk + 1) * kDeltaChunk;
constexpr std::int64_t delta_chunk_floats(const DslaShape& shape) {
  return shape.n_kv * kDeltaHeadFloats + shape.n_heads * kDeltaQueryFloats;
}

// `rows`: of the step up to the last piece's end.
inline std::size_t delta_workspace_bytes(const DslaShape& shape, std::int64_t rows, std::int64_t pieces) {
  return static_cast<std::size_t>(delta_chunks_before(pieces, rows) * delta_chunk_floats(shape)) *
         sizeof(float);
}

}  // namespace dslad::kernels::cuda
