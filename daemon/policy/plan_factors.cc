#include "daemon/policy/plan_factors.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace dslad::daemon::policy {
namespace {

constexpr double kForgetOwn = 0.95;      // what a plan's factor goes by: its latest 20 jobs,
constexpr double kForgetOthers = 0.998;  // for about 500 of other plans
constexpr double kOne = 0.5;             // jobs for which it counts that a factor is 1 as a rule
constexpr std::size_t kMostPlans = 128;

// Larger plans first keep less of a token.
bool converts_less(const PlanShape& a, const PlanShape& b) {
  return std::pair(-a.attention, a.states) < std::pair(-b.attention, b.states);
}

// The first that converts no less.
template <typename Plans>
auto place_of(Plans& plans, const PlanShape& shape) {
  return std::lower_bound(plans.begin(), plans.end(), shape, [](const auto& one, const PlanShape& wanted) {
    return converts_less(one.shape, wanted);
  });
}

}  // namespace

template <std::size_t N>
typename PlanFactors<N>::Plan& PlanFactors<N>::plan_of(const PlanShape& shape) {
  const auto at = place_of(plans_, shape);
  if (at != plans_.end() && !converts_less(shape, at->shape)) return *at;
  return *plans_.insert(at, Plan{.shape = shape});
}

template <std::size_t N>
void PlanFactors<N>::add(const PlanShape& plan, const Row& x, double y, double predicted) {
  if (!(y > 0)) return;
  for (Plan& one : plans_) fade(one, kForgetOthers);
  Plan& own = plan_of(plan);
  fade(own, kForgetOwn);
  const double scale = std::max(y, predicted);
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) own.products[i][k] += (x[i] / scale) * (x[k] / scale);
    own.targets[i] += (x[i] / scale) * (y / scale);
  }
  ++own.jobs;
  if (plans_.size() <= kMostPlans) return;
  plans_.erase(std::min_element(plans_.begin(), plans_.end(),
                                [](const Plan& a, const Plan& b) { return a.jobs < b.jobs; }));
}

template <std::size_t N>
void PlanFactors<N>::fade(Plan& plan, double kept) {
  plan.jobs *= kept;
  for (std::size_t i = 0; i < N; ++i) {
    for (double& product : plan.products[i]) product *= kept;
    plan.targets[i] *= kept;
  }
}

// Of the plan's jobs with the sums P and t the factor f of the prediction w.x with the least (f w.x - y)^2 is
// w't / w'Pw.
template <std::size_t N>
void PlanFactors<N>::follow(const Row& weights) {
  for (Plan& plan : plans_) {
    double seen = kOne;
    double predicted = kOne;
    for (std::size_t i = 0; i < N; ++i) {
      seen += weights[i] * plan.targets[i];
      for (std::size_t k = 0; k < N; ++k) predicted += weights[i] * plan.products[i][k] * weights[k];
    }
    plan.factor = seen / predicted;
  }
}

template <std::size_t N>
double PlanFactors<N>::of(const PlanShape& plan) const {
  if (plans_.empty()) return 1;
  const auto above = place_of(plans_, plan);
  if (above == plans_.end()) return plans_.back().factor;
  if (above == plans_.begin() || !converts_less(plan, above->shape)) return above->factor;
  const Plan& below = *std::prev(above);
  const double apart = below.shape.attention - above->shape.attention;
  const double share = apart > 0 ? (below.shape.attention - plan.attention) / apart : 0.5;
  return below.factor + share * (above->factor - below.factor);
}

template <std::size_t N>
void PlanFactors<N>::set(const PlanShape& plan, double factor) {
  plan_of(plan).factor = factor;
}

template class PlanFactors<3>;
template class PlanFactors<4>;

}  // namespace dslad::daemon::policy
