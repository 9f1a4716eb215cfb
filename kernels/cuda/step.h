// The operations of a step, as a list: what lets a device be told of a step once and not of each operation.
//
// A step's key is all that its operations are called with, byte by byte. Steps of equal keys queue the very
// same work: the arrays that they point to may hold other values, but lie in the same places. So whatever a
// device makes of a step once (a CUDA graph) serves each later step with that key.
// Thread safety: one user at a time.
#pragma once

#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "kernels/attention/cuda/attention_on_device.h"
#include "kernels/attention/cuda/window_on_device.h"
#include "kernels/bias/bias.h"
#include "kernels/cuda/embed.h"
#include "kernels/delta/cuda/delta_rule_on_device.h"
#include "kernels/dsla/cuda/dsla_on_device.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "kernels/gemm/cuda/gemm_on_device.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/move/cuda/move_on_device.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/cuda/rope_on_device.h"
#include "kernels/sample/cuda/sample_on_device.h"

namespace dslad::kernels::cuda {

class Operations;

using Operation =
    std::variant<EmbedArgs, RmsNormArgs, GemmOnDevice, BiasArgs, RopeOnDevice, AttentionOnDevice,
                 WindowOnDevice, DslaOnDevice, DeltaRuleOnDevice, FeatureMapArgs, HeadShareArgs, SwiGluArgs,
                 GatherOnDevice, NarrowHeadsArgs, SampleOnDevice, LogProbabilityOnDevice>;

class Step {
 public:
  // What the operation names in device memory stays where it is until the step has run; what it names in host
  // memory is kept.
  void add(Operation operation);
  void clear();

  [[nodiscard]] bool empty() const { return operations_.empty(); }
  [[nodiscard]] std::size_t size() const { return operations_.size(); }
  [[nodiscard]] const std::string& key() const { return key_; }
  // Queues the operations, one after the other.
  void run(Operations& operations) const;

 private:
  std::vector<Operation> operations_;
  std::deque<std::vector<RowBlock>> blocks_;  // of products
  std::string key_;
};

}  // namespace dslad::kernels::cuda
