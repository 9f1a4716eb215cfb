#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/sample/draw.h"
#include "kernels/sample/sample.h"

namespace dslad::kernels {
namespace {

std::int32_t argmax(std::span<const float> logits) {
  std::size_t best = logits.size();
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id])) continue;
    if (best == logits.size() || logits[id] > logits[best]) best = id;
  }
  return best == logits.size() ? 0 : static_cast<std::int32_t>(best);
}

// Softmax without its division; NaN counts as minus infinity.
std::vector<double> weights_of(std::span<const float> logits, double temperature) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const float logit : logits) largest = std::max(largest, std::isnan(logit) ? largest : logit);
  std::vector<double> weights;
  weights.reserve(logits.size());
  for (const float logit : logits) {
    const double below = logit == largest ? 0.0 : (logit - largest) / temperature;
    weights.push_back(std::isnan(logit) ? 0.0 : std::exp(below));
  }
  return weights;
}

// Leaves the smallest set of likeliest tokens that reaches top_p; the others get weight 0.
void keep_nucleus(std::vector<double>& weights, double top_p) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  const double wanted = top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
  double reached = 0;
  for (const std::size_t id : order) {
    if (reached >= wanted) {
      weights[id] = 0;
    } else {
      reached += weights[id];
    }
  }
}

}  // namespace

std::int32_t sample_ref(const SampleArgs& args) {
  if (args.temperature <= 0) return argmax(args.logits);
  std::vector<double> weights = weights_of(args.logits, args.temperature);
  if (args.top_p < 1) keep_nucleus(weights, args.top_p);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double target = uniform_draw(args.seed, args.position) * total;
  double reached = 0;
  std::size_t last = 0;
  for (std::size_t id = 0; id < weights.size(); ++id) {
    if (weights[id] == 0) continue;
    reached += weights[id];
    last = id;
    if (reached > target) break;
  }
  return static_cast<std::int32_t>(last);
}

}  // namespace dslad::kernels
