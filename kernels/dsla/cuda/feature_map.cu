#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/dsla/cuda/feature_map.cuh"

namespace dslad::kernels::cuda {

cudaError_t launch_feature_map(const FeatureMapArgs& args, cudaStream_t stream) {
  Stream queue(stream);
  queue.launch<MapFeatures>(args);
  return queue.error();
}

}  // namespace dslad::kernels::cuda
