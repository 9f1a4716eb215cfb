#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/dsla/cuda/dsla.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_dsla(const DslaOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  dsla(queue, args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
