#include "daemon/policy/policy.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <limits>

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
    keep_levels(workers, verdict_.history);
    for (const WorkerFacts& worker : workers_) verdict_.models.try_emplace(worker.model_digest);
    note_arrivals(jobs, settings.target_drain_ms, now_ms, verdict_.history.arrivals);
    for (const WorkerFacts& worker : workers_) free_ms_.push_back(std::max(0.0, worker.busy_ms));
    std::vector<const WaitingJob*> order;
    order.reserve(jobs.size());
    if (settings.without.lengths) alike_ = alike(jobs);
    for (const WaitingJob& job : settings.without.lengths ? alike_ : jobs) order.push_back(&job);
    std::sort(order.begin(), order.end(),
              [](const WaitingJob* a, const WaitingJob* b) { return runs_before(*a, *b); });
    candidates_.reserve(order.size());
    for (const WaitingJob* job : order) candidates_.push_back(maker_.of(*job));
  }

  Verdict run() {
    const std::vector<Slot> at_plan_0 = schedule(candidates_, free_ms_);
    choose_plans(at_plan_0);
    lay_out(at_plan_0);
    for (auto& [model, own] : verdict_.models)
      own.change_cost_ms = change_cost_ms(workers_, models_, model, verdict_.history.level_of(model));
    follow_levels(settings_, workers_, now_ms_, verdict_);
    if (settings_.kind == PolicyKind::kDeadline && settings_.without.own_plans) {
      for (std::size_t i = 0; i < candidates_.size(); ++i)
        raise(candidates_[i], verdict_.history.level_of(verdict_.decisions[i].model_digest));
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
    const bool by_levels = settings_.kind == PolicyKind::kManual || settings_.kind == PolicyKind::kThreshold;
    std::vector<Reservation> reserved = reservations(candidates_, slots, speeds_known(), now_ms_);
    verdict_.decisions.clear();
    verdict_.decisions.reserve(candidates_.size());
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      verdict_.decisions.push_back(decision(candidates_[i], slots[i], at_plan_0[i]));
      verdict_.decisions.back().reservation = std::move(reserved[i]);
      if (candidates_[i].placeable())
        verdict_.decisions.back().model_digest = model_of(by_levels ? at_plan_0[i] : slots[i]);
    }
    weigh(at_plan_0, slots);
  }

  [[nodiscard]] std::vector<bool> speeds_known() const {
    std::vector<bool> known(workers_.size());
    for (std::size_t worker = 0; worker < known.size(); ++worker) known[worker] = maker_.speed_known(worker);
    return known;
  }

  void choose_plans(const std::vector<Slot>& at_plan_0) {
    switch (settings_.kind) {
      case PolicyKind::kManual:
        raise_to_levels(at_plan_0);
        break;
      case PolicyKind::kStatic:
        for (Candidate& candidate : candidates_) raise(candidate, settings_.static_plan);
        break;
      case PolicyKind::kThreshold:
        follow_thresholds(at_plan_0);
        raise_to_levels(at_plan_0);
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

  static void raise(Candidate& candidate, std::uint32_t plan) {
    while (candidate.at + 1 < candidate.plans.size() && candidate.plans[candidate.at + 1] <= plan)
      ++candidate.at;
  }

  [[nodiscard]] const std::string& model_of(const Slot& slot) const {
    return workers_[slot.worker].model_digest;
  }

  // Each job to the level of the model on whose worker it is laid out.
  void raise_to_levels(const std::vector<Slot>& at_plan_0) {
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (candidates_[i].placeable())
        raise(candidates_[i], verdict_.history.level_of(model_of(at_plan_0[i])));
    }
  }

  // Each model by its own queue.
  void follow_thresholds(const std::vector<Slot>& at_plan_0) {
    std::map<std::string, QueueLength> lengths;
    for (const WorkerFacts& worker : workers_) {
      QueueLength& length = lengths[worker.model_digest];
      length.layers = std::max(length.layers, worker.layers);
    }
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      if (!candidates_[i].placeable()) continue;
      QueueLength& length = lengths.at(model_of(at_plan_0[i]));
      ++length.jobs;
      length.longest_tokens = std::max(length.longest_tokens, candidates_[i].tokens);
    }
    for (const auto& [model, length] : lengths) {
      const std::uint32_t most =
          most_allowed(workers_, model, std::numeric_limits<std::uint32_t>::max(), settings_.min_quality);
      verdict_.models.at(model).why =
          follow_threshold(settings_.threshold, length, most, now_ms_, verdict_.history.levels.at(model));
    }
  }

  // Of each model and of all, what waits and how long it takes.
  void weigh(const std::vector<Slot>& at_plan_0, const std::vector<Slot>& slots) {
    const auto last = [](double& last_ms, double ms) { last_ms = std::max(last_ms, ms); };
    static_cast<Load&>(verdict_) = {};
    for (auto& [model, own] : verdict_.models) own.load = {};
    for (std::size_t w = 0; w < workers_.size(); ++w) {
      for (Load* load : {&verdict_.models.at(workers_[w].model_digest).load, static_cast<Load*>(&verdict_)}) {
        last(load->drain_ms, free_ms_[w]);
        last(load->drain_at_plan_0_ms, free_ms_[w]);
      }
    }
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      const double tokens = candidates_[i].tokens;
      ++verdict_.jobs;
      verdict_.waiting_tokens += tokens;
      if (!candidates_[i].placeable()) continue;
      Load& own = verdict_.models.at(verdict_.decisions[i].model_digest).load;
      ++own.jobs;
      own.waiting_tokens += tokens;
      for (Load* load : {&own, static_cast<Load*>(&verdict_)}) {
        last(load->drain_ms, slots[i].finish_ms);
        last(load->drain_at_plan_0_ms, at_plan_0[i].finish_ms);
      }
    }
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
    made.least = made.plan > 0 && candidate.at == 0;
    const bool known = maker_.speed_known(slot.worker);
    if (known) {
      made.start_ms = on_axis(slot.start_ms);
      made.finish_ms = on_axis(slot.finish_ms);
      made.late = candidate.has_deadline && slot.finish_ms > candidate.due_ms;
      made.overdue_ms = std::max(0.0, slot.finish_ms - candidate.due_ms);
      if (made.overdue_ms > 0 && candidate.at + 1 == candidate.plans.size())
        made.bound = maker_.bound(*candidate.job, made.plan);
      if (settings_.kind == PolicyKind::kDeadline) made.soonest_ms = on_axis(candidate.soonest_ms);
    }
    if (candidate.raised_for) made.raised_for = candidates_[*candidate.raised_for].job->id;
    made.reason = reason(candidate, at_plan_0, made, known);
    return made;
  }

  [[nodiscard]] Reason reason(const Candidate& candidate, const Slot& at_plan_0, const Decision& made,
                              bool known) const {
    if (settings_.kind == PolicyKind::kManual) return Reason::kSetting;
    if (settings_.kind == PolicyKind::kStatic) return reason_of(made, settings_.static_plan, candidate);
    if (settings_.kind == PolicyKind::kThreshold)
      return reason_of(made, verdict_.history.level_of(model_of(at_plan_0)), candidate);
    if (!known) return made.least ? Reason::kMemory : Reason::kUnknownSpeed;
    if (made.late) return Reason::kLateAnyway;
    if (made.plan == 0) {
      if (at_plan_0.finish_ms <= candidate.due_ms) return Reason::kNoLoad;
      if (made.overdue_ms <= 0) return Reason::kOthers;
      return made.bound ? Reason::kBound : Reason::kNoUse;
    }
    if (candidate.for_expected) return Reason::kExpected;
    if (!candidate.raised_for && settings_.without.own_plans) return Reason::kSetting;
    if (!candidate.raised_for) return Reason::kMemory;
    return candidates_[*candidate.raised_for].has_deadline ? Reason::kDeadline : Reason::kTarget;
  }

  // Of a job whose plan does not depend on the load.
  [[nodiscard]] Reason reason_of(const Decision& made, std::uint32_t wanted,
                                 const Candidate& candidate) const {
    if (made.plan == wanted) return Reason::kSetting;
    if (made.plan > wanted) return Reason::kMemory;
    std::uint32_t offered = 0;
    for (const WorkerFacts& worker : workers_) {
      if (may_answer(worker.model, worker.model_digest, candidate.job->model))
        offered = std::max(offered, cap(worker, wanted, 0, std::nullopt));
    }
    return made.plan == offered ? Reason::kChainEnds : Reason::kTerms;
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

void leave_out(std::string_view part, Settings& settings) {
  settings.anticipate = part != "expectation";
  settings.without = {part == "own_plans", part == "lengths"};
}

std::string_view left_out(const Settings& settings) {
  if (!settings.anticipate) return "expectation";
  if (settings.without.own_plans) return "own_plans";
  return settings.without.lengths ? "lengths" : "";
}

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
