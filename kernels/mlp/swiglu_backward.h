// Gradient of SwiGLU (swiglu.h): with s = sigmoid(gate),
//   d_gate = dy up s (1 + gate (1 - s)),     d_up = dy gate s
//   gate_up, d_gate_up [rows, 2 * width] f32, gate in the first half of a row; dy [rows, width]. d_gate_up is
//   overwritten and may be gate_up itself.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

struct SwiGluBackwardArgs {
  const float* gate_up;
  std::int64_t x_stride;
  const float* dy;
  std::int64_t dy_stride;
  float* d_gate_up;
  std::int64_t dx_stride;
  std::int64_t rows, width;
};

void swiglu_backward_ref(const SwiGluBackwardArgs& args);  // in double
void swiglu_backward_cpu(ThreadPool& pool, const SwiGluBackwardArgs& args);

}  // namespace dslad::kernels
