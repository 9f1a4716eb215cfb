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

// NaN counts as minus infinity.
float largest_of(std::span<const float> logits) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto largest = lowest;
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes) {
    const auto value = hn::LoadU(d, logits.data() + i);
    largest = hn::Max(largest, hn::IfThenElse(hn::Eq(value, value), value, lowest));
  }
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < logits.size(); ++i) result = logits[i] > result ? logits[i] : result;
  return result;
}

// Softmax without its division: exp((logit - largest) / temperature), 0 for NaN.
void soften(std::span<const float> logits, float largest, float temperature, float* weights) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto top = hn::Set(d, largest), divisor = hn::Set(d, temperature), zero = hn::Zero(d);
  std::size_t i = 0;
  for (; i + lanes <= logits.size(); i += lanes) {
    const auto value = hn::LoadU(d, logits.data() + i);
    const auto below = hn::IfThenElse(hn::Eq(value, top), zero, hn::Div(hn::Sub(value, top), divisor));
    hn::StoreU(hn::IfThenElseZero(hn::Eq(value, value), hn::Exp(d, below)), d, weights + i);
  }
  for (; i < logits.size(); ++i) {
    const float below = logits[i] == largest ? 0.0f : (logits[i] - largest) / temperature;
    weights[i] = std::isnan(logits[i]) ? 0.0f : std::exp(below);
  }
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
  if (args.temperature <= 0) {
    const auto found = std::ranges::find(args.logits, largest);
    return found == args.logits.end() ? 0 : static_cast<std::int32_t>(found - args.logits.begin());
  }
  thread_local std::vector<float> weights;  // a vocabulary long: not worth an allocation per token
  weights.resize(args.logits.size());
  HWY_DYNAMIC_DISPATCH(soften)(args.logits, largest, args.temperature, weights.data());
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (args.top_p < 1) total = keep_nucleus(weights, total, args.top_p);
  return draw(weights, uniform_draw(args.seed, args.position) * total);
}

}  // namespace dslad::kernels
#endif
