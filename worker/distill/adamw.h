// AdamW with global-norm clipping, and its learning rate over time.
//
//   g <- g min(1, clip / |g|);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//   x <- x - rate (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay x)     decay in some groups only
// (Loshchilov and Hutter, arXiv 1711.05101). float32 state; the norm is summed in double. Thread safety:
// none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dslad::worker {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double decay = 0.01;
  double clip = 1.0;  // largest norm of all gradients together
};

// Values that lie together and are treated alike.
struct ParameterGroup {
  std::size_t size = 0;
  double rate = 1.0;  // relative to the step's
  bool decayed = true;
};

class AdamW {
 public:
  AdamW(const AdamWOptions& options, std::size_t size);

  // One step; the gradients are left as they are. Returns their norm before clipping. A norm that is not
  // finite changes nothing. REQUIRES: both arrays have the optimizer's size, which the groups make up.
  double step(std::span<float> values, std::span<const float> gradients,
              std::span<const ParameterGroup> groups, double rate);

  [[nodiscard]] std::int64_t steps() const { return steps_; }
  [[nodiscard]] std::span<const float> first_moment() const { return first_; }
  [[nodiscard]] std::span<const float> second_moment() const { return second_; }
  // Goes on from a checkpoint. REQUIRES: sizes as the optimizer's.
  void restore(std::int64_t steps, std::span<const float> first, std::span<const float> second);

 private:
  AdamWOptions options_;
  std::int64_t steps_ = 0;
  std::vector<float> first_, second_;
};

// Linear warm-up, then half a cosine down to `low`.
struct CosineSchedule {
  double high = 1e-3, low = 1e-5;
  std::int64_t warm_up = 0, steps = 1;

  // REQUIRES: 0 <= step.
  [[nodiscard]] double at(std::int64_t step) const;
};

}  // namespace dslad::worker
