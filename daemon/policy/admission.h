// What can be promised to jobs before they are taken: their own deadlines, and those that were promised
// before. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {

// Of one job. Times are on the axis of `now_ms`, in milliseconds.
struct Admission {
  std::optional<std::int64_t> finish_ms;  // predicted; absent: nothing is known of the workers' speed
  bool late = false;                      // it would miss its deadline
  // Jobs of its own priority that would miss theirs, which they meet without it; in turn. Those of best
  // effort are not among them, and those of a lower priority have agreed to wait.
  std::vector<std::int64_t> displaced;
  // False where it is late or displaces others; always true where it has no deadline, or is of best effort.
  bool taken = true;
  // Of the first job that is not taken, as a submit is refused as a whole: about the earliest deadline with
  // which it would be.
  std::optional<std::int64_t> earliest_ms;
};

// Of the jobs `fresh`, in their order, were they all to wait beside `jobs`; their ids differ from all others.
// One that begins later counts as if it could begin now, but for its own end, which is its start and its work
// at the earliest: what it needs is set aside for it, and what will wait by then is not known.
// As a rule it takes one decision; two where somebody is late, and at most eleven where somebody is not
// taken.
std::vector<Admission> admissions(const Settings& settings, const History& history,
                                  const std::vector<WaitingJob>& jobs, const std::vector<WaitingJob>& fresh,
                                  const std::vector<WorkerFacts>& workers, const CostModels& costs,
                                  std::int64_t now_ms);

}  // namespace dslad::daemon::policy
