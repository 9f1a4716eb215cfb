// The operations of one step of a Llama-architecture model on one device: the seam between engine and
// hardware.
//
// The engine owns the order of operations and all bookkeeping; a backend owns arithmetic, its device
// (device.h) memory and formats. Contracts, shapes and sources stand beside each operation's *Args. What
// pointers in them name is the device's memory, and nothing outside a backend reads or writes it. What says
// what is to be done is the host's and may go once the call returns: ids, positions, rows, blocks, pieces
// and their pages. Operations happen in the order of the calls, and begin with submit() at the latest; only
// wait(), read(), drawn() and log_probabilities() wait for them. Thread safety: one caller at a time.
// Results of a row do not depend on other rows of the call (rows.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/attention/attention.h"
#include "kernels/attention/window_attention.h"
#include "kernels/bias/bias.h"
#include "kernels/delta/delta_rule.h"
#include "kernels/device.h"
#include "kernels/dsla/dsla.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/dsla/head_share.h"
#include "kernels/gemm/gemm.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/move/move.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/rope/rope.h"
#include "kernels/sample/sample.h"

namespace dslad::kernels {

// What steps have at most, for a backend that takes its memory beforehand.
struct StepLimits {
  std::int64_t rows = 0;       // of a step
  std::int64_t sequences = 0;  // that have rows in one
  std::int64_t context = 0;    // tokens of a sequence
  std::int64_t layers = 0;
  int n_heads = 0;
  KvLayout kv{};
  DType weights = DType::kF32;          // that rows are rounded to before products
  std::int64_t most_k = 0, most_n = 0;  // of a product's matrices [n, k]
  int most_d_k = 0;                     // of a converted layer's states; 0: there is none
};

class Backend {
 public:
  virtual ~Backend() = default;

  [[nodiscard]] virtual Device& device() = 0;
  // What the device said when it failed; empty while it works. A backend that has failed computes nothing
  // any more, and what it gives is worthless.
  [[nodiscard]] virtual std::string_view error() const = 0;

  // How its device was told of steps, in words, for whoever measures; empty: there is nothing to say.
  [[nodiscard]] virtual std::string notes() const { return {}; }

  // How this backend keeps such pages; their size does not change.
  [[nodiscard]] virtual KvLayout kv_layout(const KvLayout& of) const { return of; }

  // Takes all the memory that steps within these limits need beside what the caller gives them, so that none
  // of them finds too little, and what is free afterwards is free. Steps beyond take more when they come.
  // False: the device has not enough, or has failed.
  [[nodiscard]] virtual bool reserve(const StepLimits& /*limits*/) { return true; }

  // Whether it computes beside the host: then the next step can be begun while the host still works on what
  // the last one gave.
  [[nodiscard]] virtual bool works_apart() const { return false; }

  // out [ids.size(), K] f32: row ids[i] of the table [V, K]. What drawn_id(j) names is the token that the
  // latest draw() draws for its row j, and any token where that draws none. REQUIRES: ids[i] < V.
  virtual void embed(std::span<const std::int32_t> ids, const WeightMatrix& table, float* out) = 0;
  virtual void rms_norm(const RmsNormArgs& args) = 0;
  virtual void gemm(const GemmArgs& args) = 0;
  virtual void bias(const BiasArgs& args) = 0;
  virtual void rope(const RopeArgs& args) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  virtual void window_attention(const WindowAttentionArgs& args) = 0;
  virtual void dsla(const DslaArgs& args) = 0;
  virtual void delta_rule(const DeltaRuleArgs& args) = 0;
  virtual void feature_map(const FeatureMapArgs& args) = 0;
  virtual void head_share(const HeadShareArgs& args) = 0;
  virtual void swiglu(const SwiGluArgs& args) = 0;
  virtual void gather(const GatherArgs& args) = 0;
  virtual void narrow_heads(const NarrowHeadsArgs& args) = 0;

  // The next token of each row, in the order of the calls, as other operations are; drawn() has them.
  // REQUIRES: there are rows, and less than two draws that nobody has read.
  virtual void draw(std::span<const SampleArgs> rows) = 0;
  // tokens[i]: of row i of the oldest draw() that nobody has read. Waits for that one, and for nothing that
  // was asked for behind it. REQUIRES: as many tokens as it has rows.
  virtual void drawn(std::span<std::int32_t> tokens) = 0;
  // Both at once. REQUIRES: as many tokens as rows, and no draw() that nobody has read.
  void sample(std::span<const SampleArgs> rows, std::span<std::int32_t> tokens) {
    if (rows.empty()) return;
    draw(rows);
    drawn(tokens);
  }
  virtual void log_probabilities(std::span<const ChosenToken> rows, std::span<double> nats) = 0;

  // Begins all that was asked for so far. To be called where a step ends, and before memory is freed that its
  // operations name: a device may wait for all of a step, as it is quicker told of one than of each
  // operation.
  virtual void submit() {}
  // Returns once all that was asked for is done, or has failed. To be called where nothing is read that would
  // wait as well: whoever takes the time of work, or tells others that it is done, asks here first.
  virtual void wait() {}

  // Bytes within the device's memory; `to` and `from` are apart.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* at, std::byte value, std::size_t bytes) = 0;
  // Bytes of the device into host memory.
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
};

// Of the CPU, with `threads` threads (the caller's included). REQUIRES: threads >= 1.
std::unique_ptr<Backend> make_cpu_backend(int threads);

}  // namespace dslad::kernels
