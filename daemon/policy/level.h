// How a model's plan in force moves: the steps of the threshold policy, and the dwell of the others. Each
// model has a level of its own, moved by its own jobs, never beyond what its workers offer and the floor
// allows. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {

// What the paper's code looks at.
struct QueueLength {
  std::size_t jobs = 0;
  double longest_tokens = 0;  // of a prompt
  std::uint32_t layers = 0;   // of the model
};

// The largest plan, up to `plan`, that some worker of the model offers and the floor allows.
std::uint32_t most_allowed(const std::vector<WorkerFacts>& workers, const std::string& model_digest,
                           std::uint32_t plan, double min_quality);

// Of models without workers what is worth remembering stays; those that are served have a level each.
void keep_levels(const std::vector<WorkerFacts>& workers, History& history);

// The paper's code: looks every few seconds, and moves the level by one layer, up to `most`. Gives why, where
// it does.
std::string follow_threshold(const ThresholdRules& rules, const QueueLength& queue, std::uint32_t most,
                             std::int64_t now_ms, Level& level);

// The levels of all policies, of the verdict's decisions: up at once; down only after the dwell, and then to
// what was needed within it. What workers no longer offer is left at once.
void follow_levels(const Settings& settings, const std::vector<WorkerFacts>& workers, std::int64_t now_ms,
                   Verdict& verdict);

}  // namespace dslad::daemon::policy
