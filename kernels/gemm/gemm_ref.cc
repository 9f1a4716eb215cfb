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
  std::vector<float> weights(static_cast<std::size_t>(w.k()));
  for (std::int64_t column = 0; column < w.n(); ++column) {
    w.unpack_row(column, weights.data());
    for (const RowBlock& block : args.blocks) {
      for (std::int64_t row = block.first; row < block.first + block.rows; ++row) {
        double sum = 0;
        for (std::int64_t k = 0; k < w.k(); ++k) {
          sum += operand(args.x[row * args.ldx + k], w.dtype()) * weights[static_cast<std::size_t>(k)];
        }
        float& y = args.y[row * args.ldy + column];
        y = args.accumulate ? static_cast<float>(y + sum) : static_cast<float>(sum);
      }
    }
  }
}

}  // namespace dslad::kernels
