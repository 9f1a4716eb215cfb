#include "daemon/policy/steps.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/share.h"

namespace dslad::daemon::policy {
namespace {

constexpr double kSame = 1e-9;        // relative; prices that differ by less are the same
constexpr double kPerSame = 1'000.0;  // classes of equal prices in a factor of e

// Equal jobs' prices differ by rounding errors, which must not decide who is first.
std::int64_t price_class(double price) {
  constexpr double kLeast = 1e-30;
  return std::llround(std::log(std::max(price, kLeast)) * kPerSame);
}

// The next step from `from`: of the plans that save work the one with the least price, the nearest of equals.
Step next_step(const Candidate& candidate, const std::vector<double>& least_work, std::size_t from) {
  Step best;
  best.from = best.to = from;
  for (std::size_t to = from + 1; to < candidate.plans.size(); ++to) {
    const double saved_ms = least_work[from] - least_work[to];
    if (saved_ms <= 0) continue;
    const double price =
        candidate.tokens * std::max(0.0, candidate.loss[to] - candidate.loss[from]) / saved_ms;
    if (best.to != from && price >= best.price * (1 - kSame)) continue;
    best.to = to;
    best.price = price;
  }
  best.plan = candidate.plans[best.to];
  return best;
}

}  // namespace

std::vector<Step> steps_of(const std::vector<Candidate>& candidates, const std::vector<std::size_t>& chosen) {
  std::vector<Step> steps;
  std::vector<double> least_work;
  for (const std::size_t i : chosen) {
    const Candidate& candidate = candidates[i];
    least_work.clear();
    for (std::size_t plan = 0; plan < candidate.plans.size(); ++plan)
      least_work.push_back(candidate.least_work(plan));
    for (Step step = next_step(candidate, least_work, candidate.at); step.to != step.from;
         step = next_step(candidate, least_work, step.to)) {
      step.candidate = i;
      steps.push_back(step);
    }
  }
  std::vector<std::tuple<std::int64_t, std::uint32_t, double, std::size_t>> order;
  order.reserve(steps.size());
  // Where jobs are expected, equal ones are taken in an order that says nothing of when they come: else those
  // that wait would pay for all, at every decision anew.
  const bool drawn =
      std::any_of(chosen.begin(), chosen.end(), [&](std::size_t i) { return candidates[i].expected(); });
  for (std::size_t k = 0; k < steps.size(); ++k)
    order.emplace_back(price_class(steps[k].price), steps[k].plan,
                       drawn ? share_of(candidates[steps[k].candidate].job->id) : 0, k);
  std::sort(order.begin(), order.end());
  std::vector<Step> sorted;
  sorted.reserve(steps.size());
  for (const auto& [price, plan, place, k] : order) sorted.push_back(steps[k]);
  return sorted;
}

}  // namespace dslad::daemon::policy
