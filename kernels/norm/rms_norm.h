// RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight, row by row.
//   x, y [rows, width] f32 with row strides; weight [width] f32. y may be x. Rows are independent.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct RmsNormArgs {
  const float* x;
  std::int64_t x_stride;
  const float* weight;
  float* y;
  std::int64_t y_stride;
  std::int64_t rows, width;
  float eps;
};

void rms_norm_ref(const RmsNormArgs& args);  // sums in double
void rms_norm_cpu(ThreadPool& pool, const RmsNormArgs& args);

}  // namespace dslad::kernels
