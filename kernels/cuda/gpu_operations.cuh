// How an operation is queued, for the sources that define one each. For CUDA's compilers alone.
#pragma once

#include <string>

#include "kernels/cuda/gpu_operations.h"
#include "kernels/cuda/stream.cuh"
#include "kernels/cuda/words.h"

namespace dslad::kernels::cuda {

template <class Call>
void GpuOperations::run(const char* what, const Call& call) {
  if (!error_.empty()) return;
  std::string failed = words(cudaSetDevice(index_));
  if (failed.empty()) failed = words(call());
  if (!failed.empty()) error_ = failed_at(index_, what, failed);
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
