#include "kernels/rope/rope.h"

namespace dslad::kernels {

void rope_ref(const RopeArgs& args) {
  const std::int64_t half = args.table->half();
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const float* cos = args.table->cos(args.positions[row]);
    const float* sin = args.table->sin(args.positions[row]);
    const double turn = args.inverse ? -1.0 : 1.0;
    for (int head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.x_stride + head * 2 * half;
      for (std::int64_t j = 0; j < half; ++j) {
        const double low = x[j], high = x[j + half], s = turn * sin[j];
        x[j] = static_cast<float>(low * cos[j] - high * s);
        x[j + half] = static_cast<float>(high * cos[j] + low * s);
      }
    }
  }
}

}  // namespace dslad::kernels
