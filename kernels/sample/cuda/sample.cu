#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/sample/cuda/sample.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_sample(const SampleOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<SampleRow>(args);
  return queue.error();
}

cudaError_t launch_log_probability(const LogProbabilityOnDevice& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<LogProbability>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
