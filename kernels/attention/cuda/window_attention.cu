#include "kernels/attention/cuda/window_attention.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_window_attention(const WindowOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  window_attention(queue, args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
