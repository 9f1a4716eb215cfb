#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/move/cuda/move.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_gather(const GatherOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<GatherRows>(args);
  return queue.error();
}

cudaError_t launch_narrow_heads(const NarrowHeadsArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<NarrowHeads>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
