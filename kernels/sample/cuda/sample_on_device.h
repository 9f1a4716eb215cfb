// sample.h's arguments as a CUDA device takes them: many rows a call.
#pragma once

#include "kernels/sample/sample.h"

namespace dslad::kernels::cuda {

struct SampleOnDevice {
  const SampleArgs* rows;  // [count]; their logits are device memory too. REQUIRES: fewer than 2^20 of them
  std::int64_t count;
  std::int32_t* tokens;  // [count]
};

struct LogProbabilityOnDevice {
  const float* logits;  // [count, vocabulary], row stride `stride`
  std::int64_t stride;
  std::int64_t vocabulary;
  const std::int32_t* tokens;  // [count]
  std::int64_t count;
  double* log_probabilities;  // [count]
};

}  // namespace dslad::kernels::cuda
