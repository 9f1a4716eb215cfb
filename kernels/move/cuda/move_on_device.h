// move.h's arguments as a CUDA device takes them.
#pragma once

#include "kernels/move/move.h"

namespace dslad::kernels::cuda {

struct GatherOnDevice {
  GatherArgs args;  // args.rows is device memory too
};

}  // namespace dslad::kernels::cuda
