#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/norm/cuda/rms_norm.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_rms_norm(const RmsNormArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  rms_norm(queue, args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
