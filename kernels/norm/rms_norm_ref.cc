#include <cmath>

#include "kernels/norm/rms_norm.h"

namespace dslad::kernels {

void rms_norm_ref(const RmsNormArgs& args) {
  for (std::int64_t i = 0; i < args.rows * args.groups; ++i) {
    const std::int64_t row = i / args.groups, group = i % args.groups;
    const float* x = args.x + row * args.x_stride + group * args.width;
    float* y = args.y + row * args.y_stride + group * args.width;
    double squares = 0;
    for (std::int64_t j = 0; j < args.width; ++j) squares += double{x[j]} * x[j];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(args.width) + args.eps);
    for (std::int64_t j = 0; j < args.width; ++j) y[j] = static_cast<float>(x[j] * scale * args.weight[j]);
  }
}

}  // namespace dslad::kernels
