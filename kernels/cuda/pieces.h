// Blocks for pieces that are cut into parts: all in x, as a device takes no more than 65,535 in y and z,
// which a piece of 2^20 rows passes. Neighbours are the same part of different pieces.
#pragma once

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

// REQUIRES: fewer than 2^31 in all.
inline std::int64_t piece_blocks(std::size_t pieces, std::int64_t parts) {
  return static_cast<std::int64_t>(pieces) * parts;
}

struct PieceBlock {
  std::int64_t piece, part;
};
DSLAD_DEVICE PieceBlock piece_block(std::size_t pieces) {
  const auto x = static_cast<std::uint32_t>(block_index().x), n = static_cast<std::uint32_t>(pieces);
  return {x % n, x / n};
}

}  // namespace dslad::kernels::cuda
