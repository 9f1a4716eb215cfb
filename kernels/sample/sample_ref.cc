#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/sample/draw.h"
#include "kernels/sample/sample.h"

namespace dslad::kernels {
namespace {

std::int32_t argmax(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t id = 1; id < logits.size(); ++id) {
    if (logits[id] > logits[best]) best = id;
  }
  return static_cast<std::int32_t>(best);
}

// Softmax without its division.
std::vector<double> weights_of(std::span<const float> logits, double temperature) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> weights;
  weights.reserve(logits.size());
  for (const float logit : logits) weights.push_back(std::exp((logit - largest) / temperature));
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
  if (!std::ranges::all_of(args.logits, [](float logit) { return std::isfinite(logit); })) return kNoToken;
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

double log_probability_ref(std::span<const float> logits, std::int32_t token) {
  const std::vector<double> weights = weights_of(logits, 1);
  const double largest = *std::ranges::max_element(logits);
  return logits[static_cast<std::size_t>(token)] - largest -
         std::log(std::accumulate(weights.begin(), weights.end(), 0.0));
}

}  // namespace dslad::kernels
