#include <vector>

#include "kernels/gemm/gemm.h"

namespace dslad::kernels {
namespace {

// What the kernel multiplies: x itself, or x as bf16 stores it.
double operand(float x, DType dtype) {
  return dtype == DType::kBf16 ? to_float(to_bf16(x)) : x;
}

}  // namespace

void gemm_ref(const GemmArgs& args) {
  const PackedMatrix& w = *args.w;
  const std::int64_t k = w.k();
  std::vector<float> weights(static_cast<std::size_t>(w.n() * k));
  for (std::int64_t column = 0; column < w.n(); ++column) w.unpack_row(column, weights.data() + column * k);
  std::vector<double> x(static_cast<std::size_t>(k));
  for (const RowBlock& block : args.blocks) {
    for (std::int64_t row = block.first; row < block.first + block.rows; ++row) {
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = operand(args.x[row * args.ldx + static_cast<std::int64_t>(i)], w.dtype());
      }
      for (std::int64_t column = 0; column < w.n(); ++column) {
        const float* w_row = weights.data() + column * k;
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * w_row[i];
        float& y = args.y[row * args.ldy + column];
        y = args.accumulate ? static_cast<float>(y + sum) : static_cast<float>(sum);
      }
    }
  }
}

}  // namespace dslad::kernels
