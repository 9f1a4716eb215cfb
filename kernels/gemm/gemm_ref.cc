#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/packed_matrix.h"

namespace dslad::kernels {
namespace {

// A row of x by groups of 8 bits: the largest magnitude of each becomes 127.
void quantize(std::vector<double>& x) {
  for (std::size_t first = 0; first < x.size(); first += kGroup) {
    const std::size_t last = std::min(x.size(), first + kGroup);
    float largest = 0;
    for (std::size_t i = first; i < last; ++i)
      largest = std::max(largest, std::abs(static_cast<float>(x[i])));
    const float inverse = largest < 1e-30f ? 0.0f : 127.0f / largest;
    for (std::size_t i = first; i < last; ++i) {
      if (!std::isfinite(x[i])) continue;
      x[i] = double{std::nearbyint(static_cast<float>(x[i]) * inverse)} * double{largest / 127.0f};
    }
  }
}

// What the kernel multiplies.
void round_operand(std::vector<double>& x, WeightFormat format) {
  if (is_quantized(format)) return quantize(x);
  if (format == WeightFormat::kF32) return;
  for (double& value : x) value = to_float(to_bf16(static_cast<float>(value)));
}

void multiply_row(const GemmArgs& args, std::int64_t row, WeightFormat format) {
  const auto& w = static_cast<const PackedMatrix&>(*args.w);
  std::vector<double> x(args.x + row * args.ldx, args.x + row * args.ldx + w.k());
  round_operand(x, format);
  std::vector<float> w_row(x.size());
  for (std::int64_t column = 0; column < w.n(); ++column) {
    w.unpack_row(column, w_row.data());
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const float weight = format == WeightFormat::kBf16 ? to_float(to_bf16(w_row[i])) : w_row[i];
      sum += x[i] * double{weight};
    }
    float& y = args.y[row * args.ldy + column];
    y = args.accumulate ? static_cast<float>(double{y} + sum) : static_cast<float>(sum);
  }
}

}  // namespace

void gemm_ref(const GemmArgs& args) {
  for (const RowBlock& block : args.blocks) {
    const WeightFormat format = operand_format(args.w->format(), block);
    for (std::int64_t row = block.first; row < block.first + block.rows; ++row)
      multiply_row(args, row, format);
  }
}

}  // namespace dslad::kernels
