#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/mlp/cuda/swiglu.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_swiglu(const SwiGluArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<SwiGlu>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
