// Matrix products of training: C = op(A) op(B), or C += op(A) op(B), over matrices that are not packed.
//
// Forward products read a weight as it lies in memory, backward ones its transpose or that of the
// activations, so either operand may be transposed and either may be bf16 or f32.
//   op(A) [m, k]: A is [m, k], or [k, m] when transposed
//   op(B) [k, n]: B is [k, n], or [n, k] when transposed
//   C     [m, n] f32, row stride ldc; must not overlap A or B
// Accumulation is float32. With compute == kBf16 f32 operands are rounded to bf16 first; with kF32 both
// operands must be f32. The result does not depend on the number of threads. REQUIRES: m, n, k > 0, strides
// at least the row length. The calling thread keeps up to 16 MiB of working memory.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels {

class ThreadPool;

struct MatrixOperand {
  const void* data;  // row-major
  DType dtype;
  std::int64_t stride;  // elements from row to row
  bool transposed = false;
};

struct MatmulArgs {
  std::int64_t m, n, k;
  MatrixOperand a, b;
  float* c;
  std::int64_t ldc;
  bool accumulate;
  DType compute;
};

void matmul_ref(const MatmulArgs& args);  // double accumulation
void matmul_cpu(ThreadPool& pool, const MatmulArgs& args);

}  // namespace dslad::kernels
