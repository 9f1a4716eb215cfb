// The steps by which jobs become cheaper, in the order in which they are worth taking. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {

// A candidate's plan, for another one that saves work.
struct Step {
  std::size_t candidate = 0;
  std::size_t from = 0;  // of its plans
  std::size_t to = 0;
  std::uint32_t plan = 0;  // that it leads to
  double price = 0;        // quality lost, times tokens, for a millisecond saved
};

// Steps of these candidates, from what is decided of each to the plan with the least work. Each job's are in
// order, and their prices rise: a plan that costs more than its way is long is passed by. Of all of them the
// least price is first, then the smallest plan, so that equal jobs go up together; then who comes first, or,
// where some of them are expected, whom the lot names.
std::vector<Step> steps_of(const std::vector<Candidate>& candidates, const std::vector<std::size_t>& chosen);

}  // namespace dslad::daemon::policy
