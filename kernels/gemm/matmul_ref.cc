#include <utility>

#include "kernels/gemm/matmul.h"

namespace dslad::kernels {
namespace {

// What is multiplied: the element itself, or as bf16 stores it.
double element(const MatrixOperand& operand, std::int64_t row, std::int64_t column, DType compute) {
  if (operand.transposed) std::swap(row, column);
  const std::int64_t at = row * operand.stride + column;
  if (operand.dtype == DType::kBf16) return to_float(static_cast<const bf16*>(operand.data)[at]);
  const float value = static_cast<const float*>(operand.data)[at];
  return compute == DType::kBf16 ? to_float(to_bf16(value)) : value;
}

}  // namespace

void matmul_ref(const MatmulArgs& args) {
  for (std::int64_t row = 0; row < args.m; ++row) {
    for (std::int64_t column = 0; column < args.n; ++column) {
      float& c = args.c[row * args.ldc + column];
      double sum = args.accumulate ? c : 0.0;
      for (std::int64_t x = 0; x < args.k; ++x) {
        sum += element(args.a, row, x, args.compute) * element(args.b, x, column, args.compute);
      }
      c = static_cast<float>(sum);
    }
  }
}

}  // namespace dslad::kernels
