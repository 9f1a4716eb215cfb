// The operations of distillation by their plain references: what any other backend must agree with.
#pragma once

#include <cstdlib>
#include <memory>

#include "kernels/training_backend.h"

namespace dslad::worker::testing {

class RefTrainingBackend : public kernels::TrainingBackend {
 public:
  [[nodiscard]] Buffer allocate(std::size_t bytes) override {
    return {new std::byte[bytes](), [](std::byte* p) { delete[] p; }};
  }
  void matmul(const kernels::MatmulArgs& args) override { kernels::matmul_ref(args); }
  void bias(const kernels::BiasArgs& args) override { kernels::bias_ref(args); }
  void bias_backward(const kernels::BiasBackwardArgs& args) override { kernels::bias_backward_ref(args); }
  void rms_norm(const kernels::RmsNormArgs& args) override { kernels::rms_norm_ref(args); }
  void rms_norm_backward(const kernels::RmsNormBackwardArgs& args) override {
    kernels::rms_norm_backward_ref(args);
  }
  void rope(const kernels::RopeArgs& args) override { kernels::rope_ref(args); }
  void attention(const kernels::SequenceAttentionArgs& args) override {
    kernels::sequence_attention_ref(args);
  }
  void attention_backward(const kernels::SequenceAttentionBackwardArgs& args) override {
    kernels::sequence_attention_backward_ref(args);
  }
  void dsla(const kernels::SequenceDslaArgs& args) override { kernels::sequence_dsla_ref(args); }
  void delta_rule(const kernels::SequenceDeltaRuleArgs& args) override {
    kernels::sequence_delta_rule_ref(args);
  }
  void delta_rule_backward(const kernels::SequenceDeltaRuleBackwardArgs& args) override {
    kernels::sequence_delta_rule_backward_ref(args);
  }
  void dsla_backward(const kernels::SequenceDslaBackwardArgs& args) override {
    kernels::sequence_dsla_backward_ref(args);
  }
  void feature_map(const kernels::FeatureMapArgs& args) override { kernels::feature_map_ref(args); }
  void feature_map_backward(const kernels::FeatureMapBackwardArgs& args) override {
    kernels::feature_map_backward_ref(args);
  }
  void head_share(const kernels::HeadShareArgs& args) override { kernels::head_share_ref(args); }
  void head_share_backward(const kernels::HeadShareBackwardArgs& args) override {
    kernels::head_share_backward_ref(args);
  }
  void swiglu(const kernels::SwiGluArgs& args) override { kernels::swiglu_ref(args); }
  void swiglu_backward(const kernels::SwiGluBackwardArgs& args) override {
    kernels::swiglu_backward_ref(args);
  }
  void token_loss(const kernels::TokenLossArgs& args) override { kernels::token_loss_ref(args); }
};

}  // namespace dslad::worker::testing
