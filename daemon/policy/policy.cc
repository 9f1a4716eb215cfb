#include "daemon/policy/policy.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>

#include "daemon/policy/change_cost.h"
#include "daemon/policy/level.h"
#include "daemon/policy/relief.h"
#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {
namespace {

// The verdict's parts, while it is being made.
class Deciding {
 public:
  Deciding(const Settings& settings, const History& history, const std::vector<WaitingJob>& jobs,
           const std::vector<WorkerFacts>& workers, const CostModels& costs, std::int64_t now_ms)
      : settings_(settings),
        workers_(workers),
        models_(costs),
        now_ms_(now_ms),
        maker_(workers, costs, settings.min_quality, settings.target_drain_ms, now_ms) {
    verdict_.history = history;
    note_arrivals(jobs, settings.target_drain_ms, now_ms, verdict_.history.arrivals);
    for (const WorkerFacts& worker : workers_) free_ms_.push_back(std::max(0.0, worker.busy_ms));
    std::vector<const WaitingJob*> order;
    order.reserve(jobs.size());
    if (settings.without.lengths) alike_ = alike(jobs);
    for (const WaitingJob& job : settings.without.lengths ? alike_ : jobs) order.push_back(&job);
    std::sort(order.begin(), order.end(),
              [](const WaitingJob* a, const WaitingJob* b) { return runs_before(*a, *b); });
    candidates_.reserve(order.size());
    for (const WaitingJob* job : order) {
      candidates_.push_back(maker_.of(*job));
      verdict_.waiting_tokens += candidates_.back().tokens;
    }
  }

  Verdict run() {
    const std::vector<Slot> at_plan_0 = schedule(candidates_, free_ms_);
    verdict_.drain_at_plan_0_ms = drain(at_plan_0);
    choose_plans();
    lay_out(at_plan_0);
    verdict_.change_cost_ms = change_cost_ms(workers_, models_, verdict_.history.level);
    follow_level(settings_, now_ms_, verdict_);
    if (settings_.kind == PolicyKind::kDeadline && settings_.without.own_plans) {
      raise_all_to(verdict_.history.level);
      lay_out(at_plan_0);
    }
    return std::move(verdict_);
  }

 private:
  static std::vector<WaitingJob> alike(std::vector<WaitingJob> jobs) {
    JobSize sum;
    for (const WaitingJob& job : jobs) {
      sum.bytes += job.size.bytes;
      sum.questions += job.size.questions;
      sum.max_tokens += job.size.max_tokens;
    }
    for (WaitingJob& job : jobs) {
      job.size.bytes = sum.bytes / jobs.size();
      job.size.questions = sum.questions / static_cast<std::uint32_t>(jobs.size());
      job.size.max_tokens = sum.max_tokens / static_cast<std::uint32_t>(jobs.size());
    }
    return jobs;
  }

  // When each job runs on the plan that it has now.
  void lay_out(const std::vector<Slot>& at_plan_0) {
    const std::vector<Slot> slots = schedule(candidates_, free_ms_);
    verdict_.drain_ms = drain(slots);
    verdict_.decisions.clear();
    verdict_.decisions.reserve(candidates_.size());
    for (std::size_t i = 0; i < candidates_.size(); ++i)
      verdict_.decisions.push_back(decision(candidates_[i], slots[i], at_plan_0[i]));
  }

  void choose_plans() {
    switch (settings_.kind) {
      case PolicyKind::kManual:
        break;
      case PolicyKind::kStatic:
        raise_all_to(settings_.static_plan);
        break;
      case PolicyKind::kThreshold:
        follow_threshold(settings_.threshold, queue_length(), now_ms_, verdict_);
        raise_all_to(verdict_.history.level);
        break;
      case PolicyKind::kDeadline:
        relieve(candidates_, free_ms_);
        if (settings_.anticipate) anticipate();
        break;
    }
  }

  // Jobs that are expected are laid out where their turn will be, and are to be done in time. Nothing that
  // was decided of those that wait is taken back.
  void anticipate() {
    const Expected expected = expected_jobs(verdict_.history.arrivals, now_ms_);
    if (expected.jobs.empty() || candidates_.empty()) return;
    verdict_.expected = expected.what;
    std::vector<Candidate> coming;
    for (const WaitingJob& job : expected.jobs) coming.push_back(candidate_of_expected(job, expected.each));
    std::vector<std::size_t> places;  // of those that wait, among all
    std::vector<Candidate> all = merged(std::move(coming), places);
    relieve_expected(all, free_ms_);
    for (std::size_t i = 0; i < candidates_.size(); ++i) candidates_[i] = std::move(all[places[i]]);
  }

  [[nodiscard]] Candidate candidate_of_expected(const WaitingJob& job, double jobs) {
    constexpr double kReserve = 0.5;  // of the time to a deadline: for what is not foreseen
    Candidate made = maker_.of(job);
    made.from_ms = static_cast<double>(job.submitted_ms - now_ms_);
    if (made.has_deadline) made.aim_ms -= kReserve * (made.due_ms - made.from_ms);
    made.tokens *= jobs;
    for (double& work_ms : made.work_ms) work_ms *= jobs;
    return made;
  }

  std::vector<Candidate> merged(std::vector<Candidate> coming, std::vector<std::size_t>& places) {
    std::sort(coming.begin(), coming.end(),
              [](const Candidate& a, const Candidate& b) { return runs_before(*a.job, *b.job); });
    std::vector<Candidate> all;
    all.reserve(candidates_.size() + coming.size());
    auto next = coming.begin();
    for (Candidate& candidate : candidates_) {
      for (; next != coming.end() && runs_before(*next->job, *candidate.job); ++next)
        all.push_back(std::move(*next));
      places.push_back(all.size());
      all.push_back(std::move(candidate));
    }
    all.insert(all.end(), std::move_iterator(next), std::move_iterator(coming.end()));
    return all;
  }

  void raise_all_to(std::uint32_t plan) {
    for (Candidate& candidate : candidates_) {
      while (candidate.at + 1 < candidate.plans.size() && candidate.plans[candidate.at + 1] <= plan)
        ++candidate.at;
    }
  }

  [[nodiscard]] QueueLength queue_length() const {
    QueueLength length;
    length.jobs = candidates_.size();
    for (const Candidate& candidate : candidates_)
      length.longest_tokens = std::max(length.longest_tokens, candidate.tokens);
    for (const WorkerFacts& worker : workers_) length.layers = std::max(length.layers, worker.layers);
    return length;
  }

  [[nodiscard]] double drain(const std::vector<Slot>& slots) const {
    double last_ms = 0;
    for (const double free_ms : free_ms_) last_ms = std::max(last_ms, free_ms);
    for (const Slot& slot : slots) last_ms = std::max(last_ms, slot.finish_ms);
    return last_ms;
  }

  [[nodiscard]] std::int64_t on_axis(double from_now_ms) const { return now_ms_ + std::llround(from_now_ms); }

  [[nodiscard]] Decision decision(const Candidate& candidate, const Slot& slot, const Slot& at_plan_0) const {
    Decision made;
    made.id = candidate.job->id;
    if (!candidate.placeable()) {
      made.reason = Reason::kNobody;
      return made;
    }
    made.plan = candidate.plans[candidate.at];
    for (const PlanFacts& plan : plans_of(workers_[slot.worker])) {
      if (plan.plan == made.plan) made.quality = plan.plan == 0 ? std::optional(1.0) : plan.quality;
    }
    const bool known = maker_.speed_known(slot.worker);
    if (known) {
      made.start_ms = on_axis(slot.start_ms);
      made.finish_ms = on_axis(slot.finish_ms);
      made.late = candidate.has_deadline && slot.finish_ms > candidate.due_ms;
      if (settings_.kind == PolicyKind::kDeadline) made.soonest_ms = on_axis(candidate.soonest_ms);
    }
    if (candidate.raised_for) made.raised_for = candidates_[*candidate.raised_for].job->id;
    made.reason = reason(candidate, at_plan_0, made, known);
    return made;
  }

  [[nodiscard]] Reason reason(const Candidate& candidate, const Slot& at_plan_0, const Decision& made,
                              bool known) const {
    if (settings_.kind == PolicyKind::kStatic || settings_.kind == PolicyKind::kThreshold) {
      const std::uint32_t wanted =
          settings_.kind == PolicyKind::kStatic ? settings_.static_plan : verdict_.history.level;
      return made.plan == wanted ? Reason::kSetting : Reason::kTerms;
    }
    if (!known) return Reason::kUnknownSpeed;
    if (made.late) return Reason::kLateAnyway;
    if (made.plan == 0) {
      const bool in_time = at_plan_0.finish_ms <= candidate.due_ms;
      return in_time || candidate.plans.size() == 1 ? Reason::kNoLoad : Reason::kNoUse;
    }
    if (candidate.for_expected) return Reason::kExpected;
    if (!candidate.raised_for && settings_.without.own_plans) return Reason::kSetting;
    if (!candidate.raised_for) return Reason::kMemory;
    return candidates_[*candidate.raised_for].has_deadline ? Reason::kDeadline : Reason::kTarget;
  }

  const Settings& settings_;
  const std::vector<WorkerFacts>& workers_;
  const CostModels& models_;
  std::int64_t now_ms_;
  Candidates maker_;
  std::vector<double> free_ms_;
  std::vector<WaitingJob> alike_;  // in place of the jobs, where their lengths do not count
  std::vector<Candidate> candidates_;
  Verdict verdict_;
};

}  // namespace

bool runs_before(const WaitingJob& a, const WaitingJob& b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  if (a.turn_ms != b.turn_ms) return a.turn_ms < b.turn_ms;
  return a.id < b.id;
}

Verdict decide(const Settings& settings, const History& history, const std::vector<WaitingJob>& jobs,
               const std::vector<WorkerFacts>& workers, const CostModels& costs, std::int64_t now_ms) {
  return Deciding(settings, history, jobs, workers, costs, now_ms).run();
}

}  // namespace dslad::daemon::policy
