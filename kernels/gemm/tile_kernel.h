// The inner kernel of our own GEMM: a few rows of x times one panel of W.
//
// Both advance in the steps of W's format (weight_format.h). Every element of the tile is ONE running float32
// sum over the steps, or over blocks of them, in ascending order, whatever the number of rows beside it and
// wherever the steps are cut: a row's result is the same alone and in any batch. Within a group of quantized
// weights the sum is of integers, and exact. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/gemm/weight_format.h"

namespace dslad::kernels {

inline constexpr int kPanelColumns = 64;
inline constexpr int kMaxTileRows = 16;

struct TileArgs {
  const std::byte* x;     // first step of the first row
  std::int64_t x_stride;  // bytes from row to row
  const std::byte* w;     // first step of the panel, 64-byte aligned
  std::int64_t steps;
  float* tile;               // [rows, 64], 64-byte aligned
  bool resume;               // true: the sums in `tile` go on; false: they start at zero
  const std::byte* ahead;    // weights that will be needed next, fetched evenly over this call
  std::int64_t ahead_lines;  // cache lines of them per block of steps
};

// Into the second-level cache: the first is full of what is being multiplied.
inline const std::byte* fetch_ahead(const std::byte* ahead, std::int64_t lines) {
  for (; lines > 0; --lines, ahead += 64) __builtin_prefetch(ahead, 0, 2);
  return ahead;
}

struct TileKernels {
  using Kernel = void (*)(const TileArgs&);
  std::array<Kernel, kMaxTileRows> by_rows;  // by_rows[r - 1] for r rows
  int most_rows;                             // that one call takes
  std::int64_t block;                        // steps; a call makes a multiple of these
  std::int64_t stream_ahead;                 // bytes from use to fetch where rows read a panel once
};

// The best kernels for this machine, chosen once.
const TileKernels& tile_kernels(WeightFormat format);

// Of the above: portable ones by Highway; and those of AMX's and of AVX-512's BF16 and VNNI instructions
// (null where compiler or machine lacks them), the last for int8 and int4.
const TileKernels& portable_tile_kernels(WeightFormat format);
const TileKernels& portable_group_kernels(WeightFormat format);
const TileKernels* amx_bf16_tile_kernels();
const TileKernels* avx512_bf16_tile_kernels();
const TileKernels* avx512_vnni_tile_kernels(WeightFormat format);

}  // namespace dslad::kernels
