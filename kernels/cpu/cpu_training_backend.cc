#include <algorithm>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/training_backend.h"

namespace dslad::kernels {
namespace {

class CpuTrainingBackend final : public TrainingBackend {
 public:
  explicit CpuTrainingBackend(int threads) : pool_(threads) {}

  [[nodiscard]] Buffer allocate(std::size_t bytes) override { return allocate_aligned(bytes); }

  void matmul(const MatmulArgs& args) override { matmul_cpu(pool_, args); }
  void bias(const BiasArgs& args) override { bias_cpu(pool_, args); }
  void bias_backward(const BiasBackwardArgs& args) override { bias_backward_cpu(pool_, args); }
  void rms_norm(const RmsNormArgs& args) override { rms_norm_cpu(pool_, args); }
  void rms_norm_backward(const RmsNormBackwardArgs& args) override { rms_norm_backward_cpu(pool_, args); }
  void rope(const RopeArgs& args) override { rope_cpu(pool_, args); }
  void attention(const SequenceAttentionArgs& args) override { sequence_attention_cpu(pool_, args); }
  void attention_backward(const SequenceAttentionBackwardArgs& args) override {
    sequence_attention_backward_cpu(pool_, args);
  }
  void dsla(const SequenceDslaArgs& args) override { sequence_dsla_cpu(pool_, args); }
  void dsla_backward(const SequenceDslaBackwardArgs& args) override {
    sequence_dsla_backward_cpu(pool_, args);
  }
  void delta_rule(const SequenceDeltaRuleArgs& args) override { sequence_delta_rule_cpu(pool_, args); }
  void delta_rule_backward(const SequenceDeltaRuleBackwardArgs& args) override {
    sequence_delta_rule_backward_cpu(pool_, args);
  }
  void feature_map(const FeatureMapArgs& args) override { feature_map_cpu(pool_, args); }
  void feature_map_backward(const FeatureMapBackwardArgs& args) override {
    feature_map_backward_cpu(pool_, args);
  }
  void head_share(const HeadShareArgs& args) override { head_share_cpu(pool_, args); }
  void head_share_backward(const HeadShareBackwardArgs& args) override {
    head_share_backward_cpu(pool_, args);
  }
  void swiglu(const SwiGluArgs& args) override { swiglu_cpu(pool_, args); }
  void swiglu_backward(const SwiGluBackwardArgs& args) override { swiglu_backward_cpu(pool_, args); }
  void token_loss(const TokenLossArgs& args) override { token_loss_cpu(pool_, args); }

 private:
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<TrainingBackend> make_cpu_training_backend(int threads) {
  return std::make_unique<CpuTrainingBackend>(std::max(1, threads));
}

}  // namespace dslad::kernels
