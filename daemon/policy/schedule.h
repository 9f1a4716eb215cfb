// Who runs what, when: jobs in their order, each on the worker that can take it and has it done first. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "daemon/policy/facts.h"

namespace dslad::daemon::policy {

// A job with the plans that it may run on. A worker that does not have one of them runs the largest below it
// that the job allows.
struct Candidate {
  const WaitingJob* job = nullptr;
  std::vector<std::uint32_t> plans;  // ascending; empty: nobody can take it
  std::vector<double> work_ms;       // [worker][plan]; kNever where that worker cannot take it on that plan
  std::vector<double> loss;          // [plan] of quality, relative to plan 0
  std::size_t at = 0;                // of `plans`: what is decided
  double tokens = 0;                 // of the prompt, expected
  double from_ms = 0;                // when it comes, from now; 0: it waits
  double due_ms = 0;                 // from now
  double aim_ms = 0;                 // by when it should end: some time before a deadline; from now
  bool has_deadline = false;         // else `due_ms` is the target's
  double soonest_ms = 0;             // its end, were it and all before it as cheap as can be; from now
  std::optional<std::size_t> raised_for;  // the candidate that would be late, were this one not made cheaper
  bool for_expected = false;              // it was made cheaper, or cheaper still, for one that is expected

  static constexpr double kNever = std::numeric_limits<double>::infinity();
  [[nodiscard]] bool expected() const { return from_ms > 0; }
  [[nodiscard]] bool placeable() const { return !plans.empty(); }
  [[nodiscard]] double work(std::size_t worker, std::size_t plan) const {
    return work_ms[worker * plans.size() + plan];
  }
  // By the worker that is fastest at it.
  [[nodiscard]] double least_work(std::size_t plan) const;
};

struct Slot {
  std::size_t worker = 0;
  double start_ms = 0;  // from now, as is the next; 0 and 0 for those that nobody can take
  double finish_ms = 0;
};

// The candidate, run on its plan number `plan`, where it is done first; moves `free_ms`, when each worker is
// free. One that is expected does not begin before it comes; until then others have the time. REQUIRES:
// candidate.placeable()
Slot place(const Candidate& candidate, std::size_t plan, std::vector<double>& free_ms);

// When the jobs, in this order, run on the plans that are decided. `free_ms`: when each worker is free, from
// now.
std::vector<Slot> schedule(const std::vector<Candidate>& candidates, std::vector<double> free_ms);

}  // namespace dslad::daemon::policy
