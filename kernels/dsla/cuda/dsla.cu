#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/dsla/cuda/dsla.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::dsla(const DslaOnDevice& args) {
  launch("DSLA", [&](Stream& queue) { cuda::dsla(queue, args); });
}

}  // namespace dslad::kernels::cuda
