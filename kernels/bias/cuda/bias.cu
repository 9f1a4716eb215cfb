#include "kernels/bias/cuda/bias.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_bias(const BiasArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<AddBias>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
