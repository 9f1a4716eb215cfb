#include <utility>
#include <vector>

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
  const auto k = static_cast<std::size_t>(args.k);
  std::vector<double> b(static_cast<std::size_t>(args.n) * k), a(k);  // B by columns, a row of A
  for (std::size_t i = 0; i < b.size(); ++i) {
    b[i] = element(args.b, static_cast<std::int64_t>(i % k), static_cast<std::int64_t>(i / k), args.compute);
  }
  for (std::int64_t row = 0; row < args.m; ++row) {
    for (std::size_t x = 0; x < k; ++x)
      a[x] = element(args.a, row, static_cast<std::int64_t>(x), args.compute);
    for (std::int64_t column = 0; column < args.n; ++column) {
      const double* b_column = b.data() + static_cast<std::size_t>(column) * k;
      float& c = args.c[row * args.ldc + column];
      double sum = args.accumulate ? c : 0.0;
      for (std::size_t x = 0; x < k; ++x) sum += a[x] * b_column[x];
      c = static_cast<float>(sum);
    }
  }
}

}  // namespace dslad::kernels
