// Gates, betas and lengths of delta_rule.h on a CUDA device. All give NaN for NaN: what diverged must show.
#pragma once

#include <cmath>

#include "kernels/delta/cuda/delta_rule_on_device.h"
#include "kernels/dsla/cuda/gate.cuh"

namespace dslad::kernels::cuda {

// Of a row in a KV head: the gate's (0) or beta's (1).
DSLAD_DEVICE float delta_logit(const DeltaRuleArgs& args, std::int64_t row, int which, int head) {
  const int channel = which * args.shape.n_kv + head;
  return args.z[row * args.z_stride + channel] + args.bias[channel];
}
DSLAD_DEVICE float gate_of(const DeltaRuleArgs& args, std::int64_t row, int head) {
  return expf(log_gate(delta_logit(args, row, 0, head)));
}
DSLAD_DEVICE float beta_of(const DeltaRuleArgs& args, std::int64_t row, int head) {
  return 1.0f / (1.0f + expf(-delta_logit(args, row, 1, head)));
}

// What a vector is divided by, of the sum of its squares.
DSLAD_DEVICE float length(float squares) {
  const float root = sqrtf(squares);
  return root < kMinKeyLength ? kMinKeyLength : root;  // false for NaN
}

}  // namespace dslad::kernels::cuda
