// A row of logits as a distribution over the vocabulary: surprise and divergence, nats. Exponentials in
// float, sums in double. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <span>

namespace dslad::worker {

class Distribution {
 public:
  // `logits` must outlive this. REQUIRES: not empty.
  explicit Distribution(std::span<const float> logits);

  // log p[token]. REQUIRES: token < size.
  [[nodiscard]] double log_p(std::size_t token) const { return logits_[token] - log_sum_; }

  // KL(this || other); exactly 0 for equal logits, never below. REQUIRES: equal sizes.
  [[nodiscard]] double kl(const Distribution& other) const;

 private:
  std::span<const float> logits_;
  double log_sum_;  // log of the sum of exp(logits)
};

}  // namespace dslad::worker
