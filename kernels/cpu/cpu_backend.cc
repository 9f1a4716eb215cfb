#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm/packed_matrix.h"

namespace dslad::kernels {
namespace {

class CpuDevice final : public Device {
 public:
  [[nodiscard]] std::string_view name() const override { return "cpu"; }
  [[nodiscard]] Buffer allocate(std::size_t bytes) override { return allocate_aligned(bytes); }
  [[nodiscard]] bool holds(WeightFormat /*format*/) const override { return true; }
  [[nodiscard]] std::unique_ptr<WeightMatrix> make_matrix(std::int64_t n, std::int64_t k,
                                                          WeightFormat format) override {
    auto matrix = std::make_unique<PackedMatrix>(n, k, format);
    if (matrix->data() == nullptr) return nullptr;
    return matrix;
  }
  void write(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  [[nodiscard]] std::optional<std::size_t> free_bytes() const override { return std::nullopt; }
  [[nodiscard]] std::unique_ptr<Backend> make_backend(int threads) override {
    return make_cpu_backend(threads);
  }
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads) : pool_(threads) {}

  [[nodiscard]] Device& device() override { return *device_; }
  [[nodiscard]] std::string_view error() const override { return {}; }

  [[nodiscard]] KvLayout kv_layout(const KvLayout& of) const override { return layout_for_attention_cpu(of); }

  void embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) override {
    const auto& rows = static_cast<const PackedMatrix&>(table);
    parallel_rows(pool_, std::ssize(ids), rows.k(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row)
        rows.unpack_row(token(ids[static_cast<std::size_t>(row)]), out + row * rows.k());
    });
  }
  void rms_norm(const RmsNormArgs& args) override { rms_norm_cpu(pool_, args); }
  void gemm(const GemmArgs& args) override { gemm_cpu(pool_, args); }
  void bias(const BiasArgs& args) override { bias_cpu(pool_, args); }
  void rope(const RopeArgs& args) override { rope_cpu(pool_, args); }
  void attention(const AttentionArgs& args) override { attention_cpu(pool_, args); }
  void window_attention(const WindowAttentionArgs& args) override { window_attention_cpu(pool_, args); }
  void dsla(const DslaArgs& args) override { dsla_cpu(pool_, args); }
  void delta_rule(const DeltaRuleArgs& args) override { delta_rule_cpu(pool_, args); }
  void feature_map(const FeatureMapArgs& args) override { feature_map_cpu(pool_, args); }
  void head_share(const HeadShareArgs& args) override { head_share_cpu(pool_, args); }
  void swiglu(const SwiGluArgs& args) override { swiglu_cpu(pool_, args); }
  void gather(const GatherArgs& args) override { gather_cpu(args); }
  void narrow_heads(const NarrowHeadsArgs& args) override { narrow_heads_cpu(pool_, args); }

  void draw(std::span<const SampleArgs> rows) override {
    std::vector<std::int32_t>& tokens = unread_.emplace_back(rows.size());
    each_row(rows, [&](std::size_t i) { tokens[i] = sample_cpu(rows[i]); });
    latest_ = tokens;
  }
  void drawn(std::span<std::int32_t> tokens) override {
    std::ranges::copy(unread_.front(), tokens.begin());
    unread_.pop_front();
  }
  void log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) override {
    each_row(rows, [&](std::size_t i) { nats[i] = log_probability_cpu(rows[i].logits, rows[i].token); });
  }

  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void fill(void* at, std::byte value, std::size_t bytes) override {
    std::memset(at, std::to_integer<int>(value), bytes);
  }
  void read(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }

 private:
  // body(i) for each row of logits.
  template <typename Row, typename Body>
  void each_row(std::span<const Row> rows, const Body& body) {
    if (rows.empty()) return;
    const auto width = static_cast<std::int64_t>(rows.front().logits.size());
    parallel_rows(pool_, std::ssize(rows), width, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) body(static_cast<std::size_t>(row));
    });
  }

  [[nodiscard]] std::int32_t token(std::int32_t id) const {
    return is_drawn_id(id) ? std::max(latest_[static_cast<std::size_t>(drawn_row(id))], 0) : id;
  }

  std::shared_ptr<Device> device_ = cpu_device();
  ThreadPool pool_;
  std::deque<std::vector<std::int32_t>> unread_;  // drawn
  std::vector<std::int32_t> latest_;              // the same, of the latest draw, read or not
};

}  // namespace

std::shared_ptr<Device> cpu_device() {
  static const auto device = std::make_shared<CpuDevice>();
  return device;
}

std::unique_ptr<Backend> make_cpu_backend(int threads) {
  return std::make_unique<CpuBackend>(std::max(1, threads));
}

}  // namespace dslad::kernels
