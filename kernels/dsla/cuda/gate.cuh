// The gate of dsla.h on a CUDA device.
#pragma once

#include <cmath>

#include "kernels/cuda/device.h"
#include "kernels/dsla/dsla.h"

namespace dslad::kernels::cuda {

// log a = max(logsigmoid(x) / tau, lowest). NaN for NaN: a diverged gate must not pass for a closed one.
DSLAD_DEVICE float log_gate(float logit) {
  const float log_sigmoid = (logit < 0 ? logit : 0.0f) - log1pf(expf(-fabsf(logit)));
  const float scaled = log_sigmoid * (1.0f / kGateTemperature);
  return scaled < kMinLogGate ? kMinLogGate : scaled;  // false for NaN
}

}  // namespace dslad::kernels::cuda
