#include "daemon/policy/change_cost.h"

#include <algorithm>
#include <cmath>

namespace dslad::daemon::policy {

double change_cost_ms(const std::vector<WorkerFacts>& workers, const CostModels& costs,
                      const std::string& model_digest, std::uint32_t plan) {
  double most_ms = 0;
  for (const WorkerFacts& worker : workers) {
    const auto model = costs.find(worker.speed_key);
    if (worker.model_digest != model_digest || model == costs.end()) continue;
    double again_ms = 0;
    for (const ReadDocument& one : worker.read) {
      if (one.plan == plan && one.again)
        again_ms += model->second.of_tokens(one.tokens, 0, worker.shape(plan), 1).prefill_ms;
    }
    most_ms = std::max(most_ms, again_ms);
  }
  return most_ms;
}

std::int64_t dwell_for(double change_cost_ms, std::int64_t least_ms) {
  constexpr double kTimesItsCost = 20;
  constexpr double kMostMs = 3'600'000;  // whatever was measured, a plan that nobody needs ends
  return std::max<std::int64_t>(least_ms, std::llround(std::min(kMostMs, kTimesItsCost * change_cost_ms)));
}

}  // namespace dslad::daemon::policy
