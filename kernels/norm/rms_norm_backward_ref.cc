#include <cmath>
#include <vector>

#include "kernels/norm/rms_norm_backward.h"

namespace dslad::kernels {

void rms_norm_backward_ref(const RmsNormBackwardArgs& args) {
  std::vector<double> d_weight(static_cast<std::size_t>(args.width));
  for (std::int64_t group = 0; group < args.rows * args.groups; ++group) {
    const std::int64_t row = group / args.groups, column = group % args.groups * args.width;
    const float* x = args.x + row * args.x_stride + column;
    const float* dy = args.dy + row * args.dy_stride + column;
    float* dx = args.dx + row * args.dx_stride + column;
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
