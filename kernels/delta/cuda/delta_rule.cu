#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/delta/cuda/delta_rule.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::delta_rule(const DeltaRuleOnDevice& args) {
  launch("delta rule", [&](Stream& queue) { cuda::delta_rule(queue, args); });
}

}  // namespace dslad::kernels::cuda
