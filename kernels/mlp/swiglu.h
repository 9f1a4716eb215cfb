// The gate of the feed-forward block: y = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
//   gate_up [rows, 2 * width] f32: gate in the first half of a row, up in the second. y [rows, width] f32.
//   y may be gate_up itself (y_stride = x_stride): the first half is overwritten.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct SwiGluArgs {
  const float* gate_up;
  std::int64_t x_stride;
  float* y;
  std::int64_t y_stride;
  std::int64_t rows, width;
};

void swiglu_ref(const SwiGluArgs& args);
void swiglu_cpu(ThreadPool& pool, const SwiGluArgs& args);

}  // namespace dslad::kernels
