#include <cmath>

#include "kernels/norm/rms_norm.h"

namespace dslad::kernels {

void rms_norm_ref(const RmsNormArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    double squares = 0;
    for (std::int64_t i = 0; i < args.width; ++i) squares += double{x[i]} * x[i];
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(args.width) + args.eps);
    for (std::int64_t i = 0; i < args.width; ++i) y[i] = static_cast<float>(x[i] * scale * args.weight[i]);
  }
}

}  // namespace dslad::kernels
