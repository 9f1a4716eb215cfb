#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/sample/cuda/sample.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::sample(const SampleOnDevice& args) {
  launch("sample", [&](Stream& queue) { queue.launch<SampleRow>(args); });
}

void GpuOperations::log_probabilities(const LogProbabilityOnDevice& args) {
  launch("log probabilities", [&](Stream& queue) { queue.launch<LogProbability>(args); });
}

}  // namespace dslad::kernels::cuda
