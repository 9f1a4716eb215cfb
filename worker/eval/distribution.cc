#include "worker/eval/distribution.h"

#include <algorithm>
#include <cmath>

namespace dslad::worker {

Distribution::Distribution(std::span<const float> logits) : logits_(logits) {
  const float largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  log_sum_ = largest + std::log(sum);
}

double Distribution::kl(const Distribution& other) const {
  double sum = 0;
  for (std::size_t token = 0; token < logits_.size(); ++token) {
    const double mine = log_p(token);
    sum += std::exp(static_cast<float>(mine)) * (mine - other.log_p(token));
  }
  // Rounding may leave nearly equal distributions a little below.
  return sum < 0 ? 0 : sum;
}

}  // namespace dslad::worker
