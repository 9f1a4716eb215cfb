// RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight, row by row, or by groups of a row (heads, say).
//   x, y [rows, groups, width] f32 with row strides; weight [width] f32, of every group. y may be x. Rows and
//   groups are independent.
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
  std::int64_t groups = 1;
};

void rms_norm_ref(const RmsNormArgs& args);  // sums in double
void rms_norm_cpu(ThreadPool& pool, const RmsNormArgs& args);

}  // namespace dslad::kernels
