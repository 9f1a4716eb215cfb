#include "worker/distill/allotment.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dslad::worker {
namespace {

constexpr double kBackward = 2;  // of a forward pass

// How often `seconds` go into `time`; a clock too coarse to tell, or nothing: as often as anyone likes.
std::int64_t times(double time, double seconds, std::int64_t most) {
  if (time <= 0) return 0;
  if (time >= seconds * static_cast<double>(most)) return most;
  return static_cast<std::int64_t>(time / seconds);
}

// From the order to the first layer that is done.
double after_joint_stage(const FirstMeasures& measures, std::int64_t held_out) {
  return static_cast<double>(held_out) * (measures.order + measures.measure);
}

}  // namespace

double PassCosts::chained(int first, int layer) const {
  return layers + (layers - first) + kBackward * (layers - layer) + (2 + kBackward / 2) * vocabulary;
}

double PassCosts::held_out(int first) const {
  return layers + (layers - first) + 2 * vocabulary;
}

double PassCosts::alone() const {
  return layers + 0.5 * layers * (layers + 1) + 2 * layers * vocabulary;
}

std::vector<std::size_t> representatives(std::span<const std::int64_t> rows, double tokens) {
  std::vector<std::size_t> by_length(rows.size());
  std::iota(by_length.begin(), by_length.end(), std::size_t{0});
  std::ranges::stable_sort(by_length, {}, [&](std::size_t i) { return rows[i]; });
  const std::size_t shortest = by_length.front();
  const auto length = [&](std::size_t i) { return static_cast<double>(rows[i]); };
  std::erase_if(by_length, [&](std::size_t i) { return length(i) > tokens; });
  double all = 0;
  for (const std::size_t i : by_length) all += length(i);
  if (by_length.empty()) return {shortest};
  if (all <= tokens) {
    std::ranges::sort(by_length);
    return by_length;
  }
  // As many as may fit, at equal distances in the tokens of all, one behind the other by length.
  for (std::size_t wanted = by_length.size(); wanted > 0; --wanted) {
    std::vector<std::size_t> out;
    double passed = 0, taken = 0, found = 0;
    for (const std::size_t i : by_length) {
      passed += length(i);
      const double before = found;
      while (found < static_cast<double>(wanted) &&
             (found + 0.5) * all < passed * static_cast<double>(wanted))
        ++found;
      if (found == before) continue;
      out.push_back(i);
      taken += length(i);
    }
    if (taken > tokens) continue;
    std::ranges::sort(out);
    return out;
  }
  return {shortest};
}

double least_budget(double used, const FirstMeasures& measures, std::int64_t held_out,
                    const AllotmentLimits& limits) {
  return used + static_cast<double>(limits.least_joint) * measures.joint_step +
         after_joint_stage(measures, std::min(limits.least_held_out, held_out));
}

FirstAllotment first_allotment(double budget, double used, const FirstMeasures& measures, int layers,
                               std::int64_t held_out, const AllotmentLimits& limits) {
  FirstAllotment out;
  const std::int64_t fewest = std::min(limits.least_held_out, held_out);
  const double for_layer =
      std::max(limits.measuring_share * budget / layers, limits.measuring_steps * measures.chained_step);
  out.held_out = std::clamp(std::min(times(limits.order_share * budget, measures.order, held_out),
                                     times(for_layer, measures.measure, held_out)),
                            fewest, held_out);
  // What the shares leave of a small budget must still do for a layer.
  const auto joint_time = [&] {
    return std::min(limits.joint_share * budget, budget - used - after_joint_stage(measures, out.held_out));
  };
  while (out.held_out > fewest &&
         times(joint_time(), measures.joint_step, limits.most_joint) < limits.least_joint)
    --out.held_out;
  out.joint_steps = std::clamp(times(joint_time(), measures.joint_step, limits.most_joint),
                               limits.least_joint, limits.most_joint);
  return out;
}

std::optional<std::int64_t> chained_steps(double budget, double used, std::span<const LayerCost> to_come,
                                          const AllotmentLimits& limits) {
  double spare = budget - used;
  std::size_t affordable = 0;
  for (; affordable < to_come.size() && to_come[affordable].other <= spare; ++affordable) {
    spare -= to_come[affordable].other;
  }
  if (affordable == 0) return std::nullopt;
  const double share = spare / static_cast<double>(affordable);
  const std::int64_t steps = times(share, to_come.front().chained_step, limits.most_chained);
  return steps < limits.least_chained ? 0 : steps;
}

std::int64_t joint_chained_steps(double budget, double used, double step, double closing,
                                 const AllotmentLimits& limits) {
  const std::int64_t steps = times(budget - used - closing, step, limits.most_chained);
  return steps < limits.least_chained ? 0 : steps;
}

double rate_share(std::int64_t steps, const AllotmentLimits& limits) {
  return std::min(1.0, static_cast<double>(steps) / static_cast<double>(limits.full_rate_steps));
}

bool time_for_step(double budget, double used, double step, double closing) {
  return used + step + closing <= budget;
}

}  // namespace dslad::worker
