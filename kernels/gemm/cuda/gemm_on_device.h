// The projections of a transformer on a CUDA device: y = x W^T, or y += x W^T, as in gemm.h.
//
//   x  [R, K] f32, row stride ldx, rounded to w's type
//   w  [N, K] bf16 or f32, row by row; aligned to 16 bytes
//   y  [R, N] f32, row stride ldy; rows outside `blocks` are left alone; must not alias x
// Accumulation is float32. Unlike pieces, blocks are host memory: they decide which products are queued.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/rows.h"
#include "kernels/tensor.h"

namespace dslad::kernels::cuda {

// Of a prefill block, at most. A product's weights are read once a block: at 128 rows that alone would take
// longer than the block's arithmetic.
inline constexpr std::int64_t kMostBlockRows = 1024;

// Decode rows are multiplied so many at a time, zeros where there are fewer: one shape whatever a step holds.
inline constexpr std::int64_t kDecodeBlockRows = 64;

struct GemmOnDevice {
  const float* x;
  std::int64_t ldx;
  const void* w;
  DType dtype;  // of w
  std::int64_t n, k;
  float* y;
  std::int64_t ldy;
  bool accumulate;
  std::span<const RowBlock> blocks;
  void* rounded;   // gemm_rounded_bytes(): the rows of one product, in w's type
  float* results;  // gemm_results_bytes(): of decode rows, before they are placed; unused without any
};

// Rows of the largest product that the blocks ask for.
inline std::int64_t gemm_product_rows(std::span<const RowBlock> blocks) {
  std::int64_t most = 0;
  for (const RowBlock& block : blocks) {
    const bool is_decode = block.kind == RowKind::kDecode;
    most = std::max(most, is_decode ? kDecodeBlockRows : std::min(block.rows, kMostBlockRows));
  }
  return most;
}

inline std::size_t gemm_rounded_bytes(std::int64_t product_rows, std::int64_t k, DType dtype) {
  return static_cast<std::size_t>(product_rows * k) * size_of(dtype);
}

inline std::size_t gemm_results_bytes(std::int64_t n) {
  return static_cast<std::size_t>(kDecodeBlockRows * n) * sizeof(float);
}

}  // namespace dslad::kernels::cuda
