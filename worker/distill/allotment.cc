#include "worker/distill/allotment.h"

#include <algorithm>
#include <cmath>

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
