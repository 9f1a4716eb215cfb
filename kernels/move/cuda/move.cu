#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/move/cuda/move.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::gather(const GatherOnDevice& args) {
  launch("gather", [&](Stream& queue) { queue.launch<GatherRows>(args); });
}

void GpuOperations::narrow_heads(const NarrowHeadsArgs& args) {
  launch("narrow heads", [&](Stream& queue) { queue.launch<NarrowHeads>(args); });
}

}  // namespace dslad::kernels::cuda
