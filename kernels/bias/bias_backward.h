// Gradient of a bias (bias.h): d_bias += the sum over rows of dy.
//   dy [rows, width] f32 with a row stride; d_bias [width], added to. The gradient by y is dy itself.
// Results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct BiasBackwardArgs {
  const float* dy;
  std::int64_t dy_stride;
  float* d_bias;
  std::int64_t rows, width;
};

void bias_backward_ref(const BiasBackwardArgs& args);  // in double
void bias_backward_cpu(ThreadPool& pool, const BiasBackwardArgs& args);

}  // namespace dslad::kernels
