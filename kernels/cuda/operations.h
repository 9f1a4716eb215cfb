// What CudaBackend needs of a device: its operations and copies, queued one behind the other.
//
// Contracts are those of each operation's *Args. All pointers are device memory, those within spans and the
// arrays that spans name too; pages, states and rings are aligned to 16 bytes. Blocks of a product are host
// memory. Results of a row do not depend on other rows of the call (kernels/rows.h), nor on the limits that a
// caller names. The first error stays, and nothing happens behind it. Thread safety: one caller at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "kernels/cuda/step.h"

namespace dslad::kernels::cuda {

class Operations {
 public:
  virtual ~Operations() = default;

  // Empty while all went well.
  [[nodiscard]] virtual std::string_view error() const = 0;

  // Bytes of the device that it takes while steps run, at most, whatever the steps are.
  [[nodiscard]] virtual std::size_t later_bytes() const { return 0; }
  // Backend::notes().
  [[nodiscard]] virtual std::string notes() const { return {}; }

  virtual void embed(const EmbedArgs& args) = 0;
  virtual void rms_norm(const RmsNormArgs& args) = 0;
  virtual void gemm(const GemmOnDevice& args) = 0;
  virtual void bias(const BiasArgs& args) = 0;
  virtual void rope(const RopeOnDevice& args) = 0;
  virtual void attention(const AttentionOnDevice& args) = 0;
  virtual void window_attention(const WindowOnDevice& args) = 0;
  virtual void dsla(const DslaOnDevice& args) = 0;
  virtual void delta_rule(const DeltaRuleOnDevice& args) = 0;
  virtual void feature_map(const FeatureMapArgs& args) = 0;
  virtual void head_share(const HeadShareArgs& args) = 0;
  virtual void swiglu(const SwiGluArgs& args) = 0;
  virtual void gather(const GatherOnDevice& args) = 0;
  virtual void narrow_heads(const NarrowHeadsArgs& args) = 0;
  virtual void sample(const SampleOnDevice& args) = 0;
  virtual void log_probabilities(const LogProbabilityOnDevice& args) = 0;
  // All of a step's, in their order: by default one by one.
  virtual void run(const Step& step) { step.run(*this); }

  // From host memory, which may go once the call returns.
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* at, std::byte value, std::size_t bytes) = 0;
  // Into host memory; waits until it is there, or for an error.
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;
  // A read that is queued, whose bytes end_read() brings: of the oldest that was begun. Waits for it, and for
  // nothing that was queued behind it; after an error `to` is left as it was. REQUIRES: no more than two are
  // open.
  virtual void begin_read(const void* from, std::size_t bytes) = 0;
  virtual void end_read(void* to) = 0;
  // Until all that was queued is done, or for an error.
  virtual void wait() = 0;
};

}  // namespace dslad::kernels::cuda
