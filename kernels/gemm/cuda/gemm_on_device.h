// The projections of a transformer on a CUDA device: y = x W^T, or y += x W^T, as in gemm.h.
//
//   x  [R, K] f32, row stride ldx, rounded to w's type
//   w  [N, K] bf16 or f32, row by row; aligned to 16 bytes
//   y  [R, N] f32, row stride ldy; rows outside `blocks` are left alone; must not alias x
// Accumulation is float32. Unlike pieces, blocks are host memory: they decide which products are queued.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/rows.h"
#include "kernels/tensor.h"

namespace dslad::kernels::cuda {

// Of a prefill block, at most. A product's weights are read once a block: at 128 rows that alone would take
// longer than the block's arithmetic.
inline constexpr std::int64_t kMostBlockRows = 1024;

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
};

}  // namespace dslad::kernels::cuda
