// What keeps a job from a larger plan than those that it may run on. Plain values. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/policy/facts.h"

namespace dslad::daemon::policy {

struct Bound {
  std::uint32_t most = 0;                  // the largest that it may run on
  std::optional<std::uint32_t> next;       // the smallest above; absent: no worker that can take it has one
  std::optional<double> quality;           // of that, relative to plan 0; absent: not measured
  std::optional<double> floor;             // of all jobs, which it is below
  std::optional<double> min_quality;       // of the job's own terms, which it is below
  std::optional<std::uint32_t> max_plan;   // of the job's own terms, which it is above
  bool memory = false;                     // the job does not fit the worker's cache on it
  std::optional<std::uint32_t> withdrawn;  // plans from it on are given to nobody, and none is before it
};

// "no larger plan is allowed: plan 1 of 99% of plan 0's quality is below the floor of 100%"
std::string text_of(const Bound& bound);

// The same of a plan on which a job would fit that fits no smaller one: "plan 1 of 99% of plan 0's quality
// has room for it, but is above plan 0 of its own terms". REQUIRES: `next`, and something that forbids it.
std::string text_of_room(const Bound& bound);

// What a person who sets a floor should know: which models it leaves no plan above 0, and why, a line each.
std::vector<std::string> notes_on_floor(const std::vector<WorkerFacts>& workers, double min_quality);

// The same of models of which no worker has a plan above 0, so that there is nothing to choose.
std::vector<std::string> notes_on_chains(const std::vector<WorkerFacts>& workers);

}  // namespace dslad::daemon::policy
