// Makes jobs cheaper until what is late is in time: the smallest plans that do, of the fewest jobs, first of
// the client whose tokens are the backlog. Pure.
#pragma once

#include <vector>

#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {

// Raises `at` of candidates, which are in the order in which they run, and says in `raised_for` what for.
// Deadlines are served before the target of jobs without one; a deadline that nothing can save raises
// its own job alone, a target that cannot be reached is approached. Sets `soonest_ms`, too.
void relieve(std::vector<Candidate>& candidates, const std::vector<double>& free_ms);

// The same for those that are expected alone, among all others. They may not come, so that only steps are
// taken that are not dear: cost at most half as much again, for what they save, as all steps of their job
// together. Nobody's plan becomes smaller. Says whose became larger in `for_expected`, and nothing in
// `raised_for`.
void relieve_expected(std::vector<Candidate>& candidates, const std::vector<double>& free_ms);

}  // namespace dslad::daemon::policy
