// rope.h's arguments as a CUDA device takes them.
#pragma once

#include "kernels/rope/rope.h"

namespace dslad::kernels::cuda {

// RopeArgs whose table lies on the device, as RopeTable's rows lie on the host.
struct RopeOnDevice {
  RopeArgs args;     // args.table is not used
  const float* cos;  // [positions, half]
  const float* sin;  // [positions, half]
  std::int64_t half;
};

}  // namespace dslad::kernels::cuda
