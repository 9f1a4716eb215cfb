#include "kernels/bias/bias_backward.h"

namespace dslad::kernels {

void bias_backward_ref(const BiasBackwardArgs& args) {
  for (std::int64_t i = 0; i < args.width; ++i) {
    double sum = args.d_bias[i];
    for (std::int64_t row = 0; row < args.rows; ++row) sum += args.dy[row * args.dy_stride + i];
    args.d_bias[i] = static_cast<float>(sum);
  }
}

}  // namespace dslad::kernels
