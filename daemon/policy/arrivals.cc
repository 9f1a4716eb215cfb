#include "daemon/policy/arrivals.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace dslad::daemon::policy {
namespace {

constexpr std::size_t kLatest = 32;  // jobs that are remembered, and that are expected at most
constexpr double kLeastUsual_ms = 100;
constexpr double kPause = 0.2;            // the next are of the usual time: a longer pause counts as so much
constexpr double kTogether = 0.01;        // what comes closer than that came together
constexpr double kRemembered = 20;        // time after which a third is left of what was counted
constexpr double kDoubt = 1;              // standard deviations that are taken off
constexpr double kGroupsMissing = 3;      // that should have come: they have stopped
constexpr std::size_t kFewestRecent = 8;  // groups that tell how many come of late
constexpr std::size_t kMostRecent = 64;

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
  return static_cast<double>(at_ms - arrivals.recent.back().at_ms) < kTogether * arrivals.usual_ms;
}

void note(const WaitingJob& job, std::int64_t target_ms, std::int64_t now_ms, Arrivals& arrivals) {
  const std::int64_t at_ms = std::min(job.submitted_ms, now_ms);
  const bool first = arrivals.latest.empty();
  arrivals.usual_ms = usual_time_ms(arrivals, time_it_has_ms(job, target_ms));
  const auto gap_ms = static_cast<double>(at_ms - arrivals.last_ms);
  if (!first && gap_ms >= 0) count(gap_ms, arrivals);  // else it came long ago, and was behind many others
  if (first || gap_ms >= kPause * arrivals.usual_ms) {
    arrivals.since_ms = at_ms;
    arrivals.in_a_row = first || gap_ms >= arrivals.usual_ms ? 1 : arrivals.in_a_row + 1;
    arrivals.recent = {{at_ms, 0}};
  } else if (!together(at_ms, arrivals)) {
    ++arrivals.groups;
    ++arrivals.in_a_row;
    if (arrivals.recent.size() == kMostRecent) arrivals.recent.erase(arrivals.recent.begin());
    arrivals.recent.push_back({at_ms, 0});
  }
  ++arrivals.recent.back().jobs;
  arrivals.last_ms = first ? at_ms : std::max(arrivals.last_ms, at_ms);
  arrivals.newest_id = job.id;
  remember(job, arrivals);
}

double silence_ms(const Arrivals& arrivals, std::int64_t now_ms) {
  return std::max(0.0, static_cast<double>(now_ms - arrivals.last_ms));
}

// Jobs that come at a steady rate for some time.
struct Flow {
  double a_ms = 0;  // 0: they do not come, or too few have come to tell
  double for_ms = 0;
  [[nodiscard]] double jobs() const { return a_ms * for_ms; }
};

// `jobs` came in so many groups and so much time.
double rate(double jobs, double groups, double time_ms, double silent_ms) {
  if (groups <= 0 || silent_ms * groups > kGroupsMissing * time_ms) return 0;
  return std::max(0.0, 1 - kDoubt / std::sqrt(groups)) * jobs / time_ms;
}

// As many as come as a rule; as long as they came until now, or come as a rule, and no longer than a job has.
Flow usual_flow(const Arrivals& arrivals, std::int64_t now_ms) {
  const double silent_ms = silence_ms(arrivals, now_ms);
  if (arrivals.in_a_row < 2 || silent_ms >= kPause * arrivals.usual_ms) return {};
  const double as_a_rule_ms = arrivals.pauses > 0 ? arrivals.time_ms / arrivals.pauses : 0;
  const auto until_now_ms = static_cast<double>(now_ms - arrivals.since_ms);
  return {rate(arrivals.jobs, arrivals.groups, arrivals.time_ms + silent_ms, silent_ms),
          std::min(arrivals.usual_ms, std::max(as_a_rule_ms, until_now_ms))};
}

// Of late, by the latest groups, eight or more: whichever number of them makes most, with what is usual for
// the rest of the time.
Flow recent_flow(const Arrivals& arrivals, const Flow& usual, std::int64_t now_ms) {
  const double silent_ms = silence_ms(arrivals, now_ms);
  Flow most;
  double most_jobs = usual.jobs();
  double jobs = 0;
  for (std::size_t groups = 1; groups < arrivals.recent.size(); ++groups) {
    jobs += arrivals.recent[arrivals.recent.size() - groups].jobs;
    // The one before begins the time.
    const auto time_ms =
        static_cast<double>(now_ms - arrivals.recent[arrivals.recent.size() - groups - 1].at_ms);
    if (groups < kFewestRecent || time_ms <= 0) continue;  // the clock may have been set back
    const Flow flow{rate(jobs, static_cast<double>(groups), time_ms, silent_ms),
                    std::min(time_ms, arrivals.usual_ms)};
    const double all = flow.jobs() + usual.a_ms * std::max(0.0, usual.for_ms - flow.for_ms);
    if (all <= most_jobs) continue;
    most_jobs = all;
    most = flow;
  }
  return most;
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
  Flow then = usual_flow(arrivals, now_ms);
  if (then.a_ms <= 0) return expected;
  const Flow first = recent_flow(arrivals, then, now_ms);
  then.for_ms = std::max(0.0, then.for_ms - first.for_ms);
  const double jobs = std::floor(first.jobs() + then.jobs());
  if (jobs < 1) return expected;
  const Flow& told = first.a_ms > 0 ? first : then;
  expected.what = {told.a_ms * 1'000, told.for_ms};
  const std::size_t made = static_cast<std::size_t>(std::min<double>(jobs, kLatest));
  expected.each = jobs / static_cast<double>(made);
  for (std::size_t i = 0; i < made; ++i) {
    WaitingJob& job = expected.jobs.emplace_back(latest(arrivals, i % arrivals.latest.size()));
    const double place = static_cast<double>(i + 1) * expected.each;
    const double in_ms =
        place <= first.jobs() ? place / first.a_ms : first.for_ms + (place - first.jobs()) / then.a_ms;
    const std::int64_t later_ms = now_ms + std::llround(in_ms) - job.submitted_ms;
    job.id = -1 - static_cast<std::int64_t>(i);
    job.submitted_ms += later_ms;
    job.turn_ms += later_ms;
    if (job.deadline_ms) *job.deadline_ms += later_ms;
  }
  return expected;
}

}  // namespace dslad::daemon::policy
