#include "kernels/attention/cuda/window_attention.cuh"
#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::window_attention(const WindowOnDevice& args) {
  launch("window attention", [&](Stream& queue) { cuda::window_attention(queue, args); });
}

}  // namespace dslad::kernels::cuda
