#include "kernels/bias/cuda/bias.cuh"
#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::bias(const BiasArgs& args) {
  launch("bias", [&](Stream& queue) { queue.launch<AddBias>(args); });
}

}  // namespace dslad::kernels::cuda
