#include "daemon/policy/arrivals.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dslad::daemon::policy {
namespace {

constexpr std::size_t kLatest = 32;  // jobs that are remembered, and that are expected at most
constexpr double kLeastUsual_ms = 100;
constexpr double kPause = 0.2;        // the next are of the usual time: a longer pause counts as so much
constexpr double kTogether = 0.01;    // what comes closer than that came together
constexpr double kRemembered = 20;    // time after which a third is left of what was counted
constexpr double kDoubt = 1;          // standard deviations that are taken off
constexpr double kGroupsMissing = 3;  // that should have come: they have stopped

double time_it_has_ms(const WaitingJob& job, std::int64_t target_ms) {
  return std::max(kLeastUsual_ms, static_cast<double>(job.deadline_ms.value_or(job.submitted_ms + target_ms) -
                                                      job.submitted_ms));
}

// The harmonic mean: those that must be quick count for more.
double usual_time_ms(const Arrivals& arrivals, double has_ms) {
  if (arrivals.latest.empty()) return has_ms;
  constexpr double kWeight = 1.0 / kLatest;
  return 1 / ((1 - kWeight) / arrivals.usual_ms + kWeight / has_ms);
}

void remember(const WaitingJob& job, Arrivals& arrivals) {
  auto remembered = std::make_shared<const WaitingJob>(job);
  if (arrivals.latest.size() < kLatest) {
    arrivals.latest.push_back(std::move(remembered));
    return;
  }
  arrivals.latest[arrivals.next] = std::move(remembered);
  arrivals.next = (arrivals.next + 1) % kLatest;
}

// The `age`-th of the latest, from 0 for the last one.
const WaitingJob& latest(const Arrivals& arrivals, std::size_t age) {
  const std::size_t count = arrivals.latest.size();
  return *arrivals.latest[(arrivals.next + count - 1 - age) % count];
}

void count(double gap_ms, Arrivals& arrivals) {
  const double pause_ms = kPause * arrivals.usual_ms;
  const double counted_ms = std::min(gap_ms, pause_ms);
  const double kept = std::exp(-gap_ms / (kRemembered * arrivals.usual_ms));
  for (double* sum : {&arrivals.time_ms, &arrivals.jobs, &arrivals.groups, &arrivals.pauses}) *sum *= kept;
  arrivals.time_ms += counted_ms;
  if (gap_ms >= pause_ms) {
    ++arrivals.pauses;
    return;
  }
  ++arrivals.jobs;
}

bool together(std::int64_t at_ms, const Arrivals& arrivals) {
  return static_cast<double>(at_ms - arrivals.group_ms) < kTogether * arrivals.usual_ms;
}

void note(const WaitingJob& job, std::int64_t target_ms, std::int64_t now_ms, Arrivals& arrivals) {
  const std::int64_t at_ms = std::min(job.submitted_ms, now_ms);
  const bool first = arrivals.latest.empty();
  arrivals.usual_ms = usual_time_ms(arrivals, time_it_has_ms(job, target_ms));
  const auto gap_ms = static_cast<double>(at_ms - arrivals.last_ms);
  if (!first && gap_ms >= 0) count(gap_ms, arrivals);  // else it came long ago, and was behind many others
  if (first || gap_ms >= kPause * arrivals.usual_ms) {
    arrivals.since_ms = arrivals.group_ms = at_ms;
    arrivals.in_a_row = first || gap_ms >= arrivals.usual_ms ? 1 : arrivals.in_a_row + 1;
  } else if (!together(at_ms, arrivals)) {
    arrivals.group_ms = at_ms;
    ++arrivals.groups;
    ++arrivals.in_a_row;
  }
  arrivals.last_ms = first ? at_ms : std::max(arrivals.last_ms, at_ms);
  arrivals.newest_id = job.id;
  remember(job, arrivals);
}

// Jobs a millisecond; 0: they do not come, or too few have come to tell.
double rate(const Arrivals& arrivals, std::int64_t now_ms) {
  const double silent_ms = std::max(0.0, static_cast<double>(now_ms - arrivals.last_ms));
  if (arrivals.groups <= 0 || arrivals.in_a_row < 2 || silent_ms >= kPause * arrivals.usual_ms) return 0;
  const double time_ms = arrivals.time_ms + silent_ms;
  if (silent_ms * arrivals.groups > kGroupsMissing * time_ms) return 0;
  return std::max(0.0, 1 - kDoubt / std::sqrt(arrivals.groups)) * arrivals.jobs / time_ms;
}

// As long as they came until now, or come as a rule, and no longer than a job has.
double goes_on_ms(const Arrivals& arrivals, std::int64_t now_ms) {
  const double as_a_rule_ms = arrivals.pauses > 0 ? arrivals.time_ms / arrivals.pauses : 0;
  return std::min(arrivals.usual_ms, std::max(as_a_rule_ms, static_cast<double>(now_ms - arrivals.since_ms)));
}

}  // namespace

void note_arrivals(const std::vector<WaitingJob>& waiting, std::int64_t target_ms, std::int64_t now_ms,
                   Arrivals& arrivals) {
  std::vector<const WaitingJob*> fresh;
  for (const WaitingJob& job : waiting) {
    if (job.id > arrivals.newest_id) fresh.push_back(&job);
  }
  std::sort(fresh.begin(), fresh.end(),
            [](const WaitingJob* a, const WaitingJob* b) { return a->id < b->id; });
  for (const WaitingJob* job : fresh) note(*job, target_ms, now_ms, arrivals);
}

Expected expected_jobs(const Arrivals& arrivals, std::int64_t now_ms) {
  Expected expected;
  const double a_ms = rate(arrivals, now_ms);
  const double for_ms = goes_on_ms(arrivals, now_ms);
  const double jobs = std::floor(a_ms * for_ms);
  if (jobs < 1) return expected;
  expected.what = {a_ms * 1'000, for_ms};
  const std::size_t made = static_cast<std::size_t>(std::min<double>(jobs, kLatest));
  expected.each = jobs / static_cast<double>(made);
  for (std::size_t i = 0; i < made; ++i) {
    WaitingJob& job = expected.jobs.emplace_back(latest(arrivals, i % arrivals.latest.size()));
    const auto comes_ms = now_ms + std::llround(static_cast<double>(i + 1) * expected.each / a_ms);
    const std::int64_t later_ms = comes_ms - job.submitted_ms;
    job.id = -1 - static_cast<std::int64_t>(i);
    job.submitted_ms += later_ms;
    job.turn_ms += later_ms;
    if (job.deadline_ms) *job.deadline_ms += later_ms;
  }
  return expected;
}

}  // namespace dslad::daemon::policy
