// Jobs that are expected: while jobs keep coming, as many as came of late and of their kind. Pure.
//
// Time counts only while jobs come: of a pause no more than a fifth of the time that jobs have as a rule. So
// the rate of a burst is not thinned by the time between bursts, and the next burst is known by its first two
// jobs. Where more come of late than as a rule, as many are expected for as long again as that has lasted,
// whether it is the latest eight that came so fast or the latest sixty. Few arrivals are no evidence: one
// standard deviation is taken off. When they stop, nothing is expected any more after three times as long as
// it takes the next to come as a rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "daemon/policy/facts.h"

namespace dslad::daemon::policy {

// Jobs that came together.
struct ArrivalGroup {
  std::int64_t at_ms = 0;  // when the first came
  double jobs = 0;
};

// What is remembered of jobs that came. Sums forget by and by.
struct Arrivals {
  std::int64_t newest_id = 0;        // of the jobs that were seen
  std::int64_t last_ms = 0;          // when the latest came
  std::int64_t since_ms = 0;         // since when they come without a long pause
  int in_a_row = 0;                  // groups since nothing came for the usual time: one is no beginning
  double usual_ms = 0;               // that a job has from its coming to its deadline or target, as a rule
  double time_ms = 0;                // while jobs came
  double jobs = 0;                   // that came in it
  double groups = 0;                 // of those: what came together is one
  double pauses = 0;                 // long ones
  std::vector<ArrivalGroup> recent;  // since the latest long pause, the last ones
  std::vector<std::shared_ptr<const WaitingJob>> latest;  // a ring of the last ones
  std::size_t next = 0;                                   // the oldest of them, once it is full
};

struct Expectation {
  double a_second = 0;  // jobs
  double for_ms = 0;    // so long
};

struct Expected {
  Expectation what;
  std::vector<WaitingJob> jobs;  // they come at their submitted_ms; their ids are negative
  double each = 1;               // so many jobs are meant by one
};

// Of the jobs that wait, notes those that were not seen before. Ids rise as jobs come. A job without a
// deadline has `target_ms`.
void note_arrivals(const std::vector<WaitingJob>& waiting, std::int64_t target_ms, std::int64_t now_ms,
                   Arrivals& arrivals);

Expected expected_jobs(const Arrivals& arrivals, std::int64_t now_ms);

}  // namespace dslad::daemon::policy
