#include "daemon/policy/facts.h"

#include <algorithm>

namespace dslad::daemon::policy {

bool may_answer(const std::string& model, const std::string& digest, const std::string& asked) {
  return asked.empty() || asked == model || asked == digest;
}

PlanShape WorkerFacts::shape(std::uint32_t plan) const {
  const double share = layers == 0 ? 0.0 : std::min(1.0, static_cast<double>(plan) / layers);
  PlanShape shape{1 - share, share};
  if (plans.empty()) return shape;
  const auto found =
      std::find_if(plans.begin(), plans.end(), [plan](const PlanFacts& one) { return one.plan == plan; });
  if (found == plans.end()) return shape;
  const std::uint64_t keys = plans.front().kv_bytes_per_token;
  std::uint64_t states = 0;
  for (const PlanFacts& one : plans) states = std::max(states, one.state_bytes);
  if (keys > 0) shape.attention = static_cast<double>(found->kv_bytes_per_token) / static_cast<double>(keys);
  if (states > 0) shape.states = static_cast<double>(found->state_bytes) / static_cast<double>(states);
  return {std::clamp(shape.attention, 0.0, 1.0), shape.states};
}

double WorkerFacts::knows(std::int64_t document, std::uint32_t plan) const {
  if (document == 0) return 0;
  const auto found = std::find_if(read.begin(), read.end(), [&](const ReadDocument& one) {
    return one.document == document && one.plan == plan;
  });
  return found == read.end() ? 0 : found->tokens;
}

}  // namespace dslad::daemon::policy
