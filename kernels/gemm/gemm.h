// The projections of a transformer: y = x W^T, or y += x W^T.
//
//   x  [R, K] f32, row stride ldx        (rounded inside as operand_format says)
//   W  [N, K] as its device holds it     (weight_matrix.h, weight_format.h)
//   y  [R, N] f32, row stride ldy; rows outside `blocks` are left alone; must not alias x
// Accumulation is float32, of integers within a group. A row's result depends on that row, W, its block's
// kind and row count, and the row's place in a prefill block; not on other rows, other blocks or the number
// of threads. REQUIRES: blocks lie within x and y and do not overlap; ldx >= K, ldy >= N.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/gemm/weight_matrix.h"
#include "kernels/rows.h"

namespace dslad::kernels {

class ThreadPool;

struct GemmArgs {
  const float* x;
  std::int64_t ldx;
  const WeightMatrix* w;  // of the device that multiplies; of the CPU: a PackedMatrix
  float* y;
  std::int64_t ldy;
  bool accumulate;  // true: y += x W^T (the residual stream)
  std::span<const RowBlock> blocks;
};

inline constexpr std::int64_t kSmallPrefillRows = 8;

// Whether the block has so few rows that reading W is what it costs: decode, or a short piece of a prompt.
constexpr bool has_few_rows(const RowBlock& block) {
  return block.kind == RowKind::kDecode || block.rows <= kSmallPrefillRows;
}

// What the block's rows of x, and W beside them, are rounded to: W's format, but its compute type for prefill
// blocks of more than kSmallPrefillRows, to which the arithmetic is dearer than widening W.
constexpr WeightFormat operand_format(WeightFormat format, const RowBlock& block) {
  return has_few_rows(block) ? format : format_of(compute_type(format));
}

// Plain, double accumulation over rounded operands. Never tuned.
void gemm_ref(const GemmArgs& args);

// Decode blocks and small prefill blocks: our own kernel, bound by the bytes of W. Other prefill blocks:
// oneDNN on padded tiles where it has a tuned kernel for this machine, else ours.
void gemm_cpu(ThreadPool& pool, const GemmArgs& args);

}  // namespace dslad::kernels
