#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/rope/cuda/rope.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_rope(const RopeOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<Rope>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
