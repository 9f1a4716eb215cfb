// Rows of a packed operand times one panel of a packed matrix by our own kernel (tile_kernel.h), and the way
// of the sums into C. Thread-safe for disjoint tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/weight_format.h"

namespace dslad::kernels {

inline constexpr std::int64_t kTileRows = 48;  // rows whose sums stay in the first-level cache

// tile [rows, 64], 64-byte aligned, is overwritten. x [rows, stride bytes], w: the panel, of `format`.
// REQUIRES: rows <= kTileRows; stride is that of a K padded as in packed_matrix.h.
void multiply_panel(const std::byte* x, std::int64_t rows, std::int64_t stride, const std::byte* w,
                    WeightFormat format, float* tile);

// y [rows, columns], row stride ldy, = or += tile, row stride ld.
void store_tile(const float* tile, std::int64_t ld, std::int64_t rows, std::int64_t columns, float* y,
                std::int64_t ldy, bool accumulate);

}  // namespace dslad::kernels
