// operations.h on a GPU, on one stream of its own. Each operation is defined in its folder's .cu.
//
// A step that comes again is launched as one CUDA graph instead of a kernel at a time. Its first time shows
// cuBLASLt's choices and loads what kernels it needs, so that nothing but launches is left to record.
#pragma once

#include <array>
#include <cuda_runtime_api.h>
#include <memory>
#include <string>
#include <type_traits>

#include "kernels/cuda/graph_cache.h"
#include "kernels/cuda/operations.h"
#include "kernels/gemm/cuda/gemm.h"

namespace dslad::kernels::cuda {

class GpuOperations final : public Operations {
 public:
  // Null when device `index` has not what it needs.
  static std::unique_ptr<GpuOperations> create(int index);
  ~GpuOperations() override;
  GpuOperations(const GpuOperations&) = delete;
  GpuOperations& operator=(const GpuOperations&) = delete;

  [[nodiscard]] std::string_view error() const override { return error_; }
  [[nodiscard]] std::size_t later_bytes() const override;
  [[nodiscard]] std::string notes() const override;

  void embed(const EmbedArgs& args) override;
  void rms_norm(const RmsNormArgs& args) override;
  void gemm(const GemmOnDevice& args) override;
  void bias(const BiasArgs& args) override;
  void rope(const RopeOnDevice& args) override;
  void attention(const AttentionOnDevice& args) override;
  void window_attention(const WindowOnDevice& args) override;
  void dsla(const DslaOnDevice& args) override;
  void delta_rule(const DeltaRuleOnDevice& args) override;
  void feature_map(const FeatureMapArgs& args) override;
  void head_share(const HeadShareArgs& args) override;
  void swiglu(const SwiGluArgs& args) override;
  void gather(const GatherOnDevice& args) override;
  void narrow_heads(const NarrowHeadsArgs& args) override;
  void sample(const SampleOnDevice& args) override;
  void log_probabilities(const LogProbabilityOnDevice& args) override;
  void run(const Step& step) override;
  void write(void* to, const void* from, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void fill(void* at, std::byte value, std::size_t bytes) override;
  void read(void* to, const void* from, std::size_t bytes) override;
  void begin_read(const void* from, std::size_t bytes) override;
  void end_read(void* to) override;
  void wait() override;

 private:
  // Host memory that the device copies from or to by itself: pinned.
  class Pinned {
   public:
    Pinned() = default;
    ~Pinned();
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    // At least so many bytes; what was there is lost. REQUIRES: nothing is copied from or to it.
    cudaError_t reserve(std::size_t bytes);
    // What was queued so far is what wait() waits for.
    cudaError_t mark(cudaStream_t stream);
    [[nodiscard]] cudaError_t wait() const;
    [[nodiscard]] std::byte* data() const { return memory_; }

   private:
    std::byte* memory_ = nullptr;
    std::size_t bytes_ = 0;
    cudaEvent_t marked_ = nullptr;
  };
  // A read that end_read() has not brought yet, or the place of one.
  struct Read {
    Pinned at;
    std::size_t bytes = 0;
  };
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;

  explicit GpuOperations(int index);
  GraphCache<Graph>::Made record(const Step& step);
  // Runs call() on the device unless an error came before; keeps the first, with what it was at. It returns
  // what words() takes.
  template <class Call>
  void run(const char* what, const Call& call);
  // The same for work(Stream&), which queues kernels.
  template <class Work>
  void launch(const char* what, const Work& work);

  int index_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Gemm> gemm_;
  GraphCache<Graph> graphs_;
  // What write() copies from, so that the host does not wait: one is filled while what was copied from the
  // other arrives.
  std::array<Pinned, 2> writes_;
  std::size_t filling_ = 0, filled_ = 0;  // which, and its bytes
  std::array<Read, 2> reads_;
  std::size_t reads_begun_ = 0, reads_ended_ = 0;
  std::string error_;
};

}  // namespace dslad::kernels::cuda
