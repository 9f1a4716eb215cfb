#include <algorithm>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/thread_pool.h"

namespace dslad::kernels {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads) : pool_(threads) {}

  [[nodiscard]] std::string_view name() const override { return "cpu"; }
  [[nodiscard]] Buffer allocate(std::size_t bytes) override { return allocate_aligned(bytes); }

  void embed(std::span<const std::int32_t> ids, const PackedMatrix& table, float* out) override {
    const auto rows = static_cast<std::int64_t>(ids.size());
    parallel_rows(pool_, rows, table.k(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        table.unpack_row(ids[static_cast<std::size_t>(row)], out + row * table.k());
      }
    });
  }
  void rms_norm(const RmsNormArgs& args) override { rms_norm_cpu(pool_, args); }
  void gemm(const GemmArgs& args) override { gemm_cpu(pool_, args); }
  void bias(const BiasArgs& args) override { bias_cpu(pool_, args); }
  void rope(const RopeArgs& args) override { rope_cpu(pool_, args); }
  void attention(const AttentionArgs& args) override { attention_cpu(pool_, args); }
  void window_attention(const WindowAttentionArgs& args) override { window_attention_cpu(pool_, args); }
  void dsla(const DslaArgs& args) override { dsla_cpu(pool_, args); }
  void feature_map(const FeatureMapArgs& args) override { feature_map_cpu(pool_, args); }
  void head_share(const HeadShareArgs& args) override { head_share_cpu(pool_, args); }
  void swiglu(const SwiGluArgs& args) override { swiglu_cpu(pool_, args); }
  [[nodiscard]] std::int32_t sample(const SampleArgs& args) override { return sample_cpu(args); }
  [[nodiscard]] double log_probability(std::span<const float> logits, std::int32_t token) override {
    return log_probability_cpu(logits, token);
  }

 private:
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  return std::make_unique<CpuBackend>(std::max(1, threads));
}

}  // namespace dslad::kernels
