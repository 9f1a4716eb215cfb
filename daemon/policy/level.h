// How the plan in force moves: the steps of the threshold policy, and the dwell of the others. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {

// What the paper's code looks at.
struct QueueLength {
  std::size_t jobs = 0;
  double longest_tokens = 0;  // of a prompt
  std::uint32_t layers = 0;   // of the model
};

// The paper's code: looks every few seconds, and moves the level by one layer.
void follow_threshold(const ThresholdRules& rules, const QueueLength& queue, std::int64_t now_ms,
                      Verdict& verdict);

// The level of the other policies, of the verdict's decisions: up at once; down only after the dwell, and
// then to what was needed within it.
void follow_level(const Settings& settings, std::int64_t now_ms, Verdict& verdict);

}  // namespace dslad::daemon::policy
