// What it costs that workers run other plans than before. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/policy/candidates.h"

namespace dslad::daemon::policy {

// Engine time, of the model's worker where it is most: to read the documents again that it has read on the
// plan and was asked about more than once. Whatever else a change takes is a message. 0 where nothing is
// known of its speed.
double change_cost_ms(const std::vector<WorkerFacts>& workers, const CostModels& costs,
                      const std::string& model_digest, std::uint32_t plan);

// How long a level is kept, so that changes take a twentieth of the time at most, and `least_ms` at least.
std::int64_t dwell_for(double change_cost_ms, std::int64_t least_ms);

}  // namespace dslad::daemon::policy
