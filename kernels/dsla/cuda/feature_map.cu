#include "kernels/cuda/gpu_operations.cuh"
#include "kernels/dsla/cuda/feature_map.cuh"

namespace dslad::kernels::cuda {

void GpuOperations::feature_map(const FeatureMapArgs& args) {
  launch("feature map", [&](Stream& queue) { queue.launch<MapFeatures>(args); });
}

}  // namespace dslad::kernels::cuda
