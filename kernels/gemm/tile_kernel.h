// The inner kernel of our own GEMM: a few rows of x times one panel of W.
//
// Both types advance in steps of 4 bytes a row and 256 bytes a panel: one f32 of K, or a pair of bf16, for 64
// columns. Every element of the tile is ONE running float32 sum over the steps in ascending order, whatever
// the number of rows beside it and wherever the steps are cut: a row's result is the same alone and in any
// batch. Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels {

inline constexpr std::int64_t kStepBytes = 4;         // of a row of x
inline constexpr std::int64_t kPanelStepBytes = 256;  // of a panel of W
inline constexpr int kPanelColumns = 64;
inline constexpr std::int64_t kBlockSteps = 4;  // REQUIRES: a call makes a multiple of these
inline constexpr int kMaxTileRows = 6;

struct TileArgs {
  const std::byte* x;     // first step of the first row
  std::int64_t x_stride;  // bytes from row to row
  const std::byte* w;     // first step of the panel, 64-byte aligned
  std::int64_t steps;
  float* tile;               // [rows, 64], 64-byte aligned
  bool resume;               // true: the sums in `tile` go on; false: they start at zero
  const std::byte* ahead;    // weights that will be needed next, fetched evenly over this call
  std::int64_t ahead_lines;  // cache lines of them per kBlockSteps steps
};

// Into the second-level cache: the first is full of what is being multiplied.
inline const std::byte* fetch_ahead(const std::byte* ahead, std::int64_t lines) {
  for (; lines > 0; --lines, ahead += 64) __builtin_prefetch(ahead, 0, 2);
  return ahead;
}

struct TileKernels {
  using Kernel = void (*)(const TileArgs&);
  std::array<Kernel, kMaxTileRows> by_rows;  // by_rows[r - 1] for r rows
  std::int64_t stream_ahead;                 // bytes from use to fetch where rows read a panel once
};

// The best kernels for this machine, chosen once.
const TileKernels& tile_kernels(DType dtype);

// Of the above: portable ones by Highway, and those of AVX-512 BF16 (null where compiler or machine lacks
// it).
const TileKernels& portable_tile_kernels(DType dtype);
const TileKernels* avx512_bf16_tile_kernels();

}  // namespace dslad::kernels
