#include "kernels/cuda/embed.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_embed(const EmbedArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<Embed>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
