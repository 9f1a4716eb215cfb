#include "kernels/cuda/embed.cuh"
#include "kernels/cuda/gpu_operations.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::embed(const EmbedArgs& args) {
  launch("embed", [&](Stream& queue) { queue.launch<Embed>(args); });
}

}  // namespace dslad::kernels::cuda
