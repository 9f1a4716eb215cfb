#include "kernels/attention/cuda/attention.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_attention(const AttentionOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  attention(queue, args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
