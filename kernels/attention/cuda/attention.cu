#include "kernels/attention/cuda/attention.cuh"
#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::attention(const AttentionOnDevice& args) {
  launch("attention", [&](Stream& queue) { cuda::attention(queue, args); });
}

}  // namespace dslad::kernels::cuda
