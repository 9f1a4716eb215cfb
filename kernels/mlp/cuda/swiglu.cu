#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/mlp/cuda/swiglu.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::swiglu(const SwiGluArgs& args) {
  launch("SwiGLU", [&](Stream& queue) { queue.launch<SwiGlu>(args); });
}

}  // namespace dslad::kernels::cuda
