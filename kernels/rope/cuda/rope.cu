#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/rope/cuda/rope.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::rope(const RopeOnDevice& args) {
  launch("rope", [&](Stream& queue) { queue.launch<Rope>(args); });
}

}  // namespace dslad::kernels::cuda
