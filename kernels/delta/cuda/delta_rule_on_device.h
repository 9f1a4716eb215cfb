// delta_rule.h's arguments as a CUDA device takes them.
#pragma once

#include "kernels/delta/delta_rule.h"

namespace dslad::kernels::cuda {

// Pieces are device memory, which the host does not read.
struct DeltaRuleOnDevice {
  DeltaRuleArgs args;
};

}  // namespace dslad::kernels::cuda
