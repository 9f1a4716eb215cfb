// The operations of one step of a Llama-architecture model on one device: the seam between engine and
// hardware.
//
// The engine owns the order of operations and all bookkeeping; a backend owns memory and arithmetic.
// Contracts, shapes and sources stand beside each operation's *Args; all pointers in them are of memory from
// allocate(). Thread safety: one caller at a time. Results of a row do not depend on other rows of the call
// (rows.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "kernels/attention/attention.h"
#include "kernels/attention/window_attention.h"
#include "kernels/bias/bias.h"
#include "kernels/dsla/dsla.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "kernels/gemm/gemm.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/sample/sample.h"

namespace dslad::kernels {

class Backend {
 public:
  virtual ~Backend() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;  // "cpu"

  // 64-byte aligned memory, zeroed; null when the device has not enough. Freed with the pointer.
  using Buffer = std::unique_ptr<std::byte, void (*)(std::byte*)>;
  [[nodiscard]] virtual Buffer allocate(std::size_t bytes) = 0;

  // out [ids.size(), K] f32: row ids[i] of the packed table [V, K]. REQUIRES: 0 <= ids[i] < V.
  virtual void embed(std::span<const std::int32_t> ids, const PackedMatrix& table, float* out) = 0;
  virtual void rms_norm(const RmsNormArgs& args) = 0;
  virtual void gemm(const GemmArgs& args) = 0;
  virtual void bias(const BiasArgs& args) = 0;
  virtual void rope(const RopeArgs& args) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  virtual void window_attention(const WindowAttentionArgs& args) = 0;
  virtual void dsla(const DslaArgs& args) = 0;
  virtual void feature_map(const FeatureMapArgs& args) = 0;
  virtual void head_share(const HeadShareArgs& args) = 0;
  virtual void swiglu(const SwiGluArgs& args) = 0;
  [[nodiscard]] virtual std::int32_t sample(const SampleArgs& args) = 0;
  [[nodiscard]] virtual double log_probability(std::span<const float> logits, std::int32_t token) = 0;
};

// The CPU backend with `threads` threads (the caller's included). REQUIRES: threads >= 1.
std::unique_ptr<Backend> make_cpu_backend(int threads);

}  // namespace dslad::kernels
