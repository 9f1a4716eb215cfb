#include "kernels/bias/bias.h"

namespace dslad::kernels {

void bias_ref(const BiasArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t i = 0; i < args.width; ++i) args.y[row * args.y_stride + i] += args.bias[i];
  }
}

}  // namespace dslad::kernels
