#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/dsla/cuda/head_share.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::head_share(const HeadShareArgs& args) {
  launch("head share", [&](Stream& queue) { queue.launch<AddHeadShare>(args); });
}

}  // namespace dslad::kernels::cuda
