#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/norm/cuda/rms_norm.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::rms_norm(const RmsNormArgs& args) {
  launch("RMSNorm", [&](Stream& queue) { cuda::rms_norm(queue, args); });
}

}  // namespace dslad::kernels::cuda
