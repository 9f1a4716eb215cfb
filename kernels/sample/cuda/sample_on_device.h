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
  const ChosenToken* rows;  // [count]; their logits are device memory too
  std::int64_t count;
  double* nats;  // [count]
};

}  // namespace dslad::kernels::cuda
