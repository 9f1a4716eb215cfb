// The operations of a step on a CUDA device: what a caller says of a step in host memory is put where kernels
// find it.
//
// Operations wait until submit(), or until something is asked for that needs their results: then all arrays
// of the step are sent at once, and the device is given the step as a whole (step.h). A batch that decodes
// asks for the same step again and again: limits that only say how many blocks look for work are rounded up
// for that. Results of a row do not depend on others.
#pragma once

#include <memory>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/step_memory.h"

namespace dslad::kernels::cuda {

class CudaBackend final : public Backend {
 public:
  CudaBackend(CudaDevice& device, std::unique_ptr<Operations> operations);

  [[nodiscard]] Device& device() override { return device_; }
  [[nodiscard]] std::string_view error() const override;
  [[nodiscard]] std::string notes() const override { return operations_->notes(); }
  [[nodiscard]] bool reserve(const StepLimits& limits) override;
  [[nodiscard]] bool works_apart() const override { return true; }

  void embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) override;
  void rms_norm(const RmsNormArgs& args) override;
  void gemm(const GemmArgs& args) override;
  void bias(const BiasArgs& args) override;
  void rope(const RopeArgs& args) override;
  void attention(const AttentionArgs& args) override;
  void window_attention(const WindowAttentionArgs& args) override;
  void dsla(const DslaArgs& args) override;
  void delta_rule(const DeltaRuleArgs& args) override;
  void feature_map(const FeatureMapArgs& args) override;
  void head_share(const HeadShareArgs& args) override;
  void swiglu(const SwiGluArgs& args) override;
  void gather(const GatherArgs& args) override;
  void narrow_heads(const NarrowHeadsArgs& args) override;
  void draw(std::span<const SampleArgs> rows) override;
  void drawn(std::span<std::int32_t> tokens) override;
  void log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) override;
  void submit() override;
  void wait() override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* at, std::byte value, std::size_t bytes) override;
  void read(void* to, const void* from, std::size_t bytes) override;

 private:
  // Device memory that grows with what operations need.
  class Scratch {
   public:
    // At least so many bytes, aligned to 64; null when the device has no more. What was there is lost.
    std::byte* reserve(Device& device, std::size_t bytes);
    // Exactly so many, where there are fewer. False: the device has not enough.
    bool take(Device& device, std::size_t bytes);
    [[nodiscard]] bool holds(std::size_t bytes) const { return bytes <= bytes_; }
    [[nodiscard]] const std::byte* data() const { return memory_.get(); }

   private:
    Device::Buffer memory_{nullptr, [](std::byte*) {}};
    std::size_t bytes_ = 0;
  };
  // An array of the step that is being collected, for the device: null when it has no memory.
  template <class T>
  const T* stage(std::span<const T> values);
  // DSLA or the delta rule, of which OnDevice is what a device takes.
  using WorkspaceBytes = std::size_t (*)(const DslaShape& shape, std::int64_t rows, std::int64_t pieces);
  template <class OnDevice, class Args>
  void by_forms(const Args& args, WorkspaceBytes workspace_bytes);
  template <class OnDevice, class Args>
  void by_form(const Args& args, std::span<const DslaPiece> of_args,  // in the place of its own
               WorkspaceBytes workspace_bytes);
  const AttentionPiece* stage_with_pages(std::span<const AttentionPiece> pieces, std::int64_t most_tokens);
  // At least so many bytes of it; operations that wait work in the memory that there is, and go before.
  std::byte* room(Scratch& scratch, std::size_t bytes);
  // Whether memory was found for what an operation needs; the backend has failed else.
  bool found(const void* memory);

  CudaDevice& device_;
  std::unique_ptr<Operations> operations_;
  Step step_;
  StepMemory arrays_;
  Scratch workspace_;           // of attention, DSLA and the delta rule
  Scratch rounded_, products_;  // of products (gemm_on_device.h)
  Scratch drawn_, nats_;        // of the latest draw, and of its likelihoods
  Device::Buffer later_;        // in the place of what operations take while steps run
  bool has_begun_ = false;      // steps
  bool out_of_memory_ = false;
};

}  // namespace dslad::kernels::cuda
