// What can be promised to a job before it is taken. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {

struct Admission {
  std::optional<std::int64_t> finish_ms;    // predicted; absent: nothing is known of the workers' speed
  bool in_time = true;                      // also where it has no deadline, or nothing is known
  std::optional<std::int64_t> earliest_ms;  // where it is not: about the earliest deadline that could be met
  std::vector<std::int64_t> displaced;      // jobs whose deadlines would be met without it, and not with it
};

// Of `fresh`, were it to wait beside `jobs`; its id must not be among theirs.
Admission admission(const Settings& settings, const History& history, std::vector<WaitingJob> jobs,
                    const WaitingJob& fresh, const std::vector<WorkerFacts>& workers, const CostModels& costs,
                    std::int64_t now_ms);

}  // namespace dslad::daemon::policy
