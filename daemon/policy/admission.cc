#include "daemon/policy/admission.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

namespace dslad::daemon::policy {
namespace {

constexpr int kMostTries = 8;
constexpr std::int64_t kFarAhead_ms = 1'000'000'000'000;

bool is_promised(const WaitingJob& job) {
  return job.deadline_ms.has_value() && !job.best_effort;
}

// Promises hold without what is done for jobs that may not come.
Settings only_what_waits(Settings settings) {
  settings.anticipate = false;
  return settings;
}

class Admitting {
 public:
  Admitting(const Settings& settings, const History& history, const std::vector<WaitingJob>& jobs,
            const std::vector<WaitingJob>& fresh, const std::vector<WorkerFacts>& workers,
            const CostModels& costs, std::int64_t now_ms)
      : settings_(only_what_waits(settings)),
        history_(history),
        workers_(workers),
        costs_(costs),
        now_ms_(now_ms),
        waiting_(jobs.size()),
        all_(jobs) {
    all_.insert(all_.end(), fresh.begin(), fresh.end());
  }

  std::vector<Admission> run() {
    decide_with(all_);
    std::vector<Admission> made;
    for (std::size_t i = waiting_; i < all_.size(); ++i) made.push_back(admission_of(all_[i]));
    const auto refused =
        std::find_if(made.begin(), made.end(), [](const Admission& one) { return !one.taken; });
    if (refused != made.end()) {
      const auto index = static_cast<std::size_t>(std::distance(made.begin(), refused));
      refused->earliest_ms = earliest(all_[waiting_ + index], *refused);
    }
    return made;
  }

 private:
  [[nodiscard]] Verdict decided(const std::vector<WaitingJob>& jobs) const {
    return decide(settings_, history_, jobs, workers_, costs_, now_ms_);
  }

  void decide_with(const std::vector<WaitingJob>& jobs) {
    decisions_.clear();
    for (const Decision& one : decided(jobs).decisions) decisions_[one.id] = one;
  }

  [[nodiscard]] Admission admission_of(const WaitingJob& job) {
    const Decision& own = decisions_.at(job.id);
    Admission made;
    if (own.finish_ms) made.finish_ms = not_before_start(job, own, *own.finish_ms);
    made.late = own.late || (job.deadline_ms && made.finish_ms && *made.finish_ms > *job.deadline_ms);
    if (!is_promised(job)) return made;
    for (const WaitingJob* one : displaced_by(job)) made.displaced.push_back(one->id);
    made.taken = !made.late && made.displaced.empty();
    return made;
  }

  [[nodiscard]] std::vector<const WaitingJob*> displaced_by(const WaitingJob& job) {
    std::vector<const WaitingJob*> all;
    for (std::size_t i = 0; i < waiting_; ++i) {
      const WaitingJob& other = all_[i];
      if (is_promised(other) && other.priority == job.priority && runs_before(job, other) &&
          decisions_.at(other.id).late && !late_without().contains(other.id))
        all.push_back(&other);
    }
    std::sort(all.begin(), all.end(),
              [](const WaitingJob* a, const WaitingJob* b) { return runs_before(*a, *b); });
    return all;
  }

  // Who is late without those that can be refused.
  [[nodiscard]] const std::set<std::int64_t>& late_without() {
    if (late_without_) return *late_without_;
    std::vector<WaitingJob> others;
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (i < waiting_ || !is_promised(all_[i])) others.push_back(all_[i]);
    }
    late_without_.emplace();
    for (const Decision& one : decided(others).decisions) {
      if (one.late) late_without_->insert(one.id);
    }
    return *late_without_;
  }

  // With a later deadline its turn is later, too: behind more jobs, so that the time moves on until it holds.
  // Moves `job`.
  std::int64_t earliest(WaitingJob& job, Admission now) {
    for (int tries = 0; tries < kMostTries; ++tries) {
      const std::int64_t next_ms = later(job, now);
      now = moved(job, next_ms);
      if (now.taken) return next_ms;
    }
    moved(job, now_ms_ + kFarAhead_ms);  // behind all of its priority
    return soonest(job) + 1;
  }

  Admission moved(WaitingJob& job, std::int64_t deadline_ms) {
    job.deadline_ms = job.turn_ms = deadline_ms;
    decide_with(all_);
    return admission_of(job);
  }

  // Behind those that it displaces, and not before it could be done.
  [[nodiscard]] std::int64_t later(const WaitingJob& job, const Admission& now) {
    std::int64_t next_ms = now.late ? soonest(job) + 1 : *job.deadline_ms + 1;
    for (const WaitingJob* one : displaced_by(job)) next_ms = std::max(next_ms, one->turn_ms + 1);
    return next_ms;
  }

  [[nodiscard]] std::int64_t soonest(const WaitingJob& job) const {
    const Decision& own = decisions_.at(job.id);
    return not_before_start(job, own, own.soonest_ms ? *own.soonest_ms : own.finish_ms.value_or(now_ms_));
  }

  // The end `end_ms`, but for a job that begins later.
  static std::int64_t not_before_start(const WaitingJob& job, const Decision& own, std::int64_t end_ms) {
    if (!job.starts_ms || !own.start_ms || !own.finish_ms) return end_ms;
    return std::max(end_ms, *job.starts_ms + *own.finish_ms - *own.start_ms);
  }

  const Settings settings_;
  const History& history_;
  const std::vector<WorkerFacts>& workers_;
  const CostModels& costs_;
  std::int64_t now_ms_;
  std::size_t waiting_;  // so many of `all_` wait, the others are fresh
  std::vector<WaitingJob> all_;
  std::map<std::int64_t, Decision> decisions_;  // the latest, by job
  std::optional<std::set<std::int64_t>> late_without_;
};

}  // namespace

std::vector<Admission> admissions(const Settings& settings, const History& history,
                                  const std::vector<WaitingJob>& jobs, const std::vector<WaitingJob>& fresh,
                                  const std::vector<WorkerFacts>& workers, const CostModels& costs,
                                  std::int64_t now_ms) {
  return Admitting(settings, history, jobs, fresh, workers, costs, now_ms).run();
}

}  // namespace dslad::daemon::policy
