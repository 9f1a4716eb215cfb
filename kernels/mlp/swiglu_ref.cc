#include <cmath>

#include "kernels/mlp/swiglu.h"

namespace dslad::kernels {

void swiglu_ref(const SwiGluArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* gate = args.gate_up + row * args.x_stride;
    const float* up = gate + args.width;
    float* y = args.y + row * args.y_stride;
    for (std::int64_t i = 0; i < args.width; ++i) {
      y[i] = static_cast<float>(gate[i] / (1.0 + std::exp(-double{gate[i]})) * up[i]);
    }
  }
}

}  // namespace dslad::kernels
