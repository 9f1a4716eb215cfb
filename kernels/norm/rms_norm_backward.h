// Gradient of RMSNorm (rms_norm.h), row by row, or by groups of a row. With r = 1 / sqrt(mean(x^2) + eps) and
// n = x r:
//   dx += r (dy weight - n mean(dy weight n)),     d_weight += sum over rows and groups of dy n
//   x, dy, dx [rows, groups, width] f32 with row strides; dx is added to
//   weight [width]; d_weight [width], added to; null: frozen
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct RmsNormBackwardArgs {
  const float* x;
  std::int64_t x_stride;
  const float* weight;
  const float* dy;
  std::int64_t dy_stride;
  float* dx;
  std::int64_t dx_stride;
  float* d_weight;
  std::int64_t rows, width;
  float eps;
  std::int64_t groups = 1;
};

void rms_norm_backward_ref(const RmsNormBackwardArgs& args);  // in double
void rms_norm_backward_cpu(ThreadPool& pool, const RmsNormBackwardArgs& args);

}  // namespace dslad::kernels
