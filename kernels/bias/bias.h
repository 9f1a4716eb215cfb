// Adds one vector to every row: y += bias, the bias of a projection.
//   y [rows, width] f32 with a row stride, in and out; bias [width] f32. Rows are independent.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct BiasArgs {
  float* y;
  std::int64_t y_stride;
  const float* bias;
  std::int64_t rows, width;
};

void bias_ref(const BiasArgs& args);
void bias_cpu(ThreadPool& pool, const BiasArgs& args);

}  // namespace dslad::kernels
