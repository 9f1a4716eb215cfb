// How an operation is queued, for the sources that define one each. For CUDA's compilers alone.
#pragma once

#include <string>

#include "kernels/cuda/gpu_operations.h"
#include "kernels/cuda/stream.cuh"

namespace dslad::kernels::cuda {

template <class Call>
void GpuOperations::run(const char* what, const Call& call) {
  if (!error_.empty()) return;
  cudaError_t error = cudaSetDevice(index_);
  if (error == cudaSuccess) error = call();
  if (error == cudaSuccess) return;
  error_ = std::string("CUDA: device ") + std::to_string(index_) + " failed at or before " + what + ": " +
           cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
}

template <class Work>
void GpuOperations::launch(const char* what, const Work& work) {
  run(what, [&] {
    Stream queue(stream_);
    work(queue);
    return queue.error();
  });
}

}  // namespace dslad::kernels::cuda
