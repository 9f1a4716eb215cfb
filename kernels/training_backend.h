// The operations of distillation on one device: the seam between the trainer and hardware, as backend.h is
// for the engine.
//
// The trainer owns the order of operations, which parts are frozen, and the optimizer's state; a backend owns
// memory and arithmetic. Contracts, shapes and sources stand beside each operation's *Args; all pointers in
// them are of memory from allocate(). Thread safety: one caller at a time. Results do not depend on the
// number of threads.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/attention/sequence_attention.h"
#include "kernels/bias/bias.h"
#include "kernels/bias/bias_backward.h"
#include "kernels/delta/sequence_delta_rule.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "kernels/dsla/sequence_dsla.h"
#include "kernels/gemm/matmul.h"
#include "kernels/loss/token_loss.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/mlp/swiglu_backward.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/norm/rms_norm_backward.h"
#include "kernels/rope/rope.h"

namespace dslad::kernels {

class TrainingBackend {
 public:
  virtual ~TrainingBackend() = default;

  // 64-byte aligned memory, zeroed; null when the device has not enough. Freed with the pointer.
  using Buffer = std::unique_ptr<std::byte, void (*)(std::byte*)>;
  [[nodiscard]] virtual Buffer allocate(std::size_t bytes) = 0;

  virtual void matmul(const MatmulArgs& args) = 0;
  virtual void bias(const BiasArgs& args) = 0;
  virtual void bias_backward(const BiasBackwardArgs& args) = 0;
  virtual void rms_norm(const RmsNormArgs& args) = 0;
  virtual void rms_norm_backward(const RmsNormBackwardArgs& args) = 0;
  virtual void rope(const RopeArgs& args) = 0;  // its own gradient, with args.inverse
  virtual void attention(const SequenceAttentionArgs& args) = 0;
  virtual void attention_backward(const SequenceAttentionBackwardArgs& args) = 0;
  virtual void dsla(const SequenceDslaArgs& args) = 0;
  virtual void dsla_backward(const SequenceDslaBackwardArgs& args) = 0;
  virtual void delta_rule(const SequenceDeltaRuleArgs& args) = 0;
  virtual void delta_rule_backward(const SequenceDeltaRuleBackwardArgs& args) = 0;
  virtual void feature_map(const FeatureMapArgs& args) = 0;
  virtual void feature_map_backward(const FeatureMapBackwardArgs& args) = 0;
  virtual void head_share(const HeadShareArgs& args) = 0;
  virtual void head_share_backward(const HeadShareBackwardArgs& args) = 0;
  virtual void swiglu(const SwiGluArgs& args) = 0;
  virtual void swiglu_backward(const SwiGluBackwardArgs& args) = 0;
  virtual void token_loss(const TokenLossArgs& args) = 0;
};

// The CPU backend with `threads` threads (the caller's included). REQUIRES: threads >= 1.
std::unique_ptr<TrainingBackend> make_cpu_training_backend(int threads);

}  // namespace dslad::kernels
