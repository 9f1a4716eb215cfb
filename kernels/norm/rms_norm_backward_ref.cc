#include <cmath>
#include <vector>

#include "kernels/norm/rms_norm_backward.h"

namespace dslad::kernels {

void rms_norm_backward_ref(const RmsNormBackwardArgs& args) {
  std::vector<double> d_weight(static_cast<std::size_t>(args.width));
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    const float* dy = args.dy + row * args.dy_stride;
    float* dx = args.dx + row * args.dx_stride;
    double squares = 0, products = 0;
    for (std::int64_t i = 0; i < args.width; ++i) {
      squares += double{x[i]} * x[i];
      products += double{dy[i]} * args.weight[i] * x[i];
    }
    const auto width = static_cast<double>(args.width);
    const double r = 1.0 / std::sqrt(squares / width + args.eps);
    for (std::int64_t i = 0; i < args.width; ++i) {
      const double n = x[i] * r;
      dx[i] = static_cast<float>(dx[i] + r * (double{dy[i]} * args.weight[i] - n * (products * r / width)));
      d_weight[static_cast<std::size_t>(i)] += dy[i] * n;
    }
  }
  if (args.d_weight == nullptr) return;
  for (std::int64_t i = 0; i < args.width; ++i) {
    args.d_weight[i] = static_cast<float>(args.d_weight[i] + d_weight[static_cast<std::size_t>(i)]);
  }
}

}  // namespace dslad::kernels
