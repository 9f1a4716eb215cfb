// The projections of a transformer: y = x W^T, or y += x W^T.
//
//   x  [R, K] f32, row stride ldx        (rounded to bf16 inside when W is bf16)
//   W  [N, K] packed, f32 | bf16         (packed_matrix.h)
//   y  [R, N] f32, row stride ldy; rows outside `blocks` are left alone; must not alias x
// Accumulation is float32. A row's result depends on that row, W, its block's kind and row count, and the
// row's place in a prefill block; not on other rows, other blocks or the number of threads. REQUIRES: blocks
// lie within x and y and do not overlap; ldx >= K, ldy >= N.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/gemm/packed_matrix.h"
#include "kernels/rows.h"

namespace dslad::kernels {

class ThreadPool;

struct GemmArgs {
  const float* x;
  std::int64_t ldx;
  const PackedMatrix* w;
  float* y;
  std::int64_t ldy;
  bool accumulate;  // true: y += x W^T (the residual stream)
  std::span<const RowBlock> blocks;
};

// Plain, double accumulation; x is rounded to bf16 first when W is bf16. Never tuned.
void gemm_ref(const GemmArgs& args);

// Decode blocks: our own kernel, bound by the bytes of W. Prefill blocks: oneDNN on padded tiles where it has
// a tuned kernel for this machine, else ours.
void gemm_cpu(ThreadPool& pool, const GemmArgs& args);

}  // namespace dslad::kernels
