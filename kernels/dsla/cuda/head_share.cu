#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/dsla/cuda/head_share.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_head_share(const HeadShareArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<AddHeadShare>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
