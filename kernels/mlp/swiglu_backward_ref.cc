#include <cmath>

#include "kernels/mlp/swiglu_backward.h"

namespace dslad::kernels {

void swiglu_backward_ref(const SwiGluBackwardArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* gate_up = args.gate_up + row * args.x_stride;
    const float* dy = args.dy + row * args.dy_stride;
    float* d_gate_up = args.d_gate_up + row * args.dx_stride;
    for (std::int64_t i = 0; i < args.width; ++i) {
      const double gate = gate_up[i], up = gate_up[args.width + i];
      const double s = 1.0 / (1.0 + std::exp(-gate));
      d_gate_up[i] = static_cast<float>(dy[i] * up * s * (1.0 + gate * (1.0 - s)));
      d_gate_up[args.width + i] = static_cast<float>(dy[i] * gate * s);
    }
  }
}

}  // namespace dslad::kernels
