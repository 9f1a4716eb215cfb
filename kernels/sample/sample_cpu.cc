#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/cpu/simd_targets.h"
#include "kernels/sample/draw.h"
#include "kernels/sample/sample.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sample/sample_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// NaN where any logit is NaN or infinite: x - x is 0 for all others, and NaN's bits joined to others stay
// NaN.
float largest_of(std::span<const float> logits) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  auto largest = hn::Set(d, std::numeric_limits<float>::lowest());
  auto zeros = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes) {
    const auto value = hn::LoadU(d, logits.data() + i);
    largest = hn::Max(largest, value);
    zeros = hn::Or(zeros, hn::Sub(value, value));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  float zero = hn::GetLane(hn::SumOfLanes(d, zeros));
  for (; i < logits.size(); ++i) {
    result = std::max(result, logits[i]);
    zero += logits[i] - logits[i];
  }
  return zero == 0 ? result : std::numeric_limits<float>::quiet_NaN();
}

// Softmax without its division: exp((logit - largest) / temperature).
void soften(std::span<const float> logits, float largest, float temperature, float* weights) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto top = hn::Set(d, largest), divisor = hn::Set(d, temperature);
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes) {
    const auto below = hn::Div(hn::Sub(hn::LoadU(d, logits.data() + i), top), divisor);
    hn::StoreU(hn::Exp(d, below), d, weights + i);
  }
  for (; i < logits.size(); ++i) weights[i] = std::exp((logits[i] - largest) / temperature);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {
namespace {

HWY_EXPORT(largest_of);
HWY_EXPORT(soften);

// Likelier first, then the lower id: what a max-heap of these pops next.
struct Candidate {
  float weight;
  std::int32_t id;
  bool operator<(const Candidate& other) const {
    return weight < other.weight || (weight == other.weight && id > other.id);
  }
};

// Tokens below an equal share of what may be left out cannot belong to the nucleus.
std::vector<Candidate> candidates_of(std::span<const float> weights, double total, double top_p) {
  const auto least = static_cast<float>((1 - top_p) * total / static_cast<double>(weights.size()) * 0.5);
  std::vector<Candidate> candidates;
  for (std::size_t id = 0; id < weights.size(); ++id) {
    if (weights[id] > least) candidates.push_back({weights[id], static_cast<std::int32_t>(id)});
  }
  return candidates;
}

// Zeroes the weights outside of the nucleus and returns the sum of those inside.
double keep_nucleus(std::span<float> weights, double total, double top_p) {
  std::vector<Candidate> heap = candidates_of(weights, total, top_p);
  std::vector<Candidate> nucleus;
  std::ranges::make_heap(heap, std::less<>{});
  double reached = 0;
  while (!heap.empty() && reached < top_p * total) {
    std::ranges::pop_heap(heap, std::less<>{});
    nucleus.push_back(heap.back());
    reached += heap.back().weight;
    heap.pop_back();
  }
  std::ranges::fill(weights, 0.0f);
  for (const Candidate& token : nucleus) weights[static_cast<std::size_t>(token.id)] = token.weight;
  return reached;
}

// Softmax without its division, valid until the thread's next call.
std::span<float> softened(std::span<const float> logits, float largest, float temperature) {
  thread_local std::vector<float> weights;  // a vocabulary long: not worth an allocation per token
  weights.resize(logits.size());
  HWY_DYNAMIC_DISPATCH(soften)(logits, largest, temperature, weights.data());
  return weights;
}

std::int32_t draw(std::span<const float> weights, double target) {
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

}  // namespace

std::int32_t sample_cpu(const SampleArgs& args) {
  const float largest = HWY_DYNAMIC_DISPATCH(largest_of)(args.logits);
  if (std::isnan(largest)) return kNoToken;
  if (args.temperature <= 0) {
    return static_cast<std::int32_t>(std::ranges::find(args.logits, largest) - args.logits.begin());
  }
  const std::span<float> weights = softened(args.logits, largest, args.temperature);
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (args.top_p < 1) total = keep_nucleus(weights, total, args.top_p);
  return draw(weights, uniform_draw(args.seed, args.position) * total);
}

double log_probability_cpu(std::span<const float> logits, std::int32_t token) {
  const float largest = HWY_DYNAMIC_DISPATCH(largest_of)(logits);
  const std::span<const float> weights = softened(logits, largest, 1);
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - largest - std::log(total);
}

}  // namespace dslad::kernels
#endif
