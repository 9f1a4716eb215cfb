// delta_rule.h on a CUDA device.
#pragma once

#include "kernels/delta/cuda/delta_step.cuh"

namespace dslad::kernels::cuda {

template <class Queue>
void delta_rule(Queue& queue, const DeltaRuleOnDevice& step) {
  delta_step(queue, step);
}

}  // namespace dslad::kernels::cuda
