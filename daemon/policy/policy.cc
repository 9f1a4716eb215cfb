#include "daemon/policy/policy.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "daemon/policy/relief.h"
#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {
namespace {

// Without any chain a worker has plan 0.
const std::vector<PlanFacts>& plans_of(const WorkerFacts& worker) {
  static const std::vector<PlanFacts> kPlanZero = {{0, 1.0, 0, 0}};
  return worker.plans.empty() ? kPlanZero : worker.plans;
}

bool allows(const PlanFacts& plan, double min_quality, std::optional<std::uint32_t> max_plan) {
  if (plan.plan == 0) return true;
  if (max_plan && plan.plan > *max_plan) return false;
  return plan.quality ? *plan.quality >= min_quality : min_quality <= 0;
}

bool fits_cache(const WorkerFacts& worker, const PlanFacts& plan, double tokens) {
  if (worker.cache_bytes == 0) return true;
  const double bytes =
      static_cast<double>(plan.state_bytes) + tokens * static_cast<double>(plan.kv_bytes_per_token);
  return bytes <= static_cast<double>(worker.cache_bytes);
}

// The verdict's parts, while it is being made.
class Deciding {
 public:
  Deciding(const Settings& settings, const History& history, std::vector<WaitingJob> jobs,
           const std::vector<WorkerFacts>& workers, const CostModels& costs, std::int64_t now_ms)
      : settings_(settings), jobs_(std::move(jobs)), workers_(workers), costs_(costs), now_ms_(now_ms) {
    verdict_.history = history;
    std::sort(jobs_.begin(), jobs_.end(), runs_before);
    for (const WorkerFacts& worker : workers_) free_ms_.push_back(std::max(0.0, worker.busy_ms));
    candidates_.reserve(jobs_.size());
    for (const WaitingJob& job : jobs_) candidates_.push_back(candidate(job));
  }

  Verdict run() {
    const std::vector<Slot> at_plan_0 = schedule(candidates_, free_ms_);
    verdict_.drain_at_plan_0_ms = drain(at_plan_0);
    switch (settings_.kind) {
      case PolicyKind::kManual:
        break;
      case PolicyKind::kStatic:
        raise_all_to(settings_.static_plan);
        break;
      case PolicyKind::kThreshold:
        follow_threshold();
        raise_all_to(verdict_.history.level);
        break;
      case PolicyKind::kDeadline:
        relieve(candidates_, free_ms_);
        break;
    }
    const std::vector<Slot> slots = schedule(candidates_, free_ms_);
    verdict_.drain_ms = drain(slots);
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      verdict_.decisions.push_back(decision(candidates_[i], slots[i], at_plan_0[i]));
    }
    follow_level();
    return std::move(verdict_);
  }

 private:
  [[nodiscard]] const CostModel* cost(const WorkerFacts& worker) const {
    const auto found = costs_.find(worker.speed_key);
    return found == costs_.end() || found->second.jobs() == 0 ? nullptr : &found->second;
  }

  [[nodiscard]] double floor_of(const WaitingJob& job) const {
    return std::max(settings_.min_quality, job.min_quality.value_or(0));
  }

  [[nodiscard]] bool serves(const WorkerFacts& worker, const WaitingJob& job) const {
    if (!job.model.empty() && job.model != worker.model && job.model != worker.model_digest) return false;
    const CostModel* model = cost(worker);
    return worker.context == 0 || model == nullptr || model->prompt_tokens(job.size) <= worker.context;
  }

  // Memory that it will need, in tokens of context.
  [[nodiscard]] static double cache_tokens(const CostModel* model, const WaitingJob& job) {
    return model == nullptr ? 0 : model->most_prompt_tokens(job.size) + job.size.max_tokens;
  }

  Candidate candidate(const WaitingJob& job) {
    Candidate made;
    made.job = &job;
    made.has_deadline = job.deadline_ms.has_value();
    made.due_ms = job.deadline_ms.value_or(job.submitted_ms + settings_.target_drain_ms) - now_ms_;
    for (const WorkerFacts& worker : workers_) add_plans(worker, job, made.plans);
    std::sort(made.plans.begin(), made.plans.end());
    made.plans.erase(std::unique(made.plans.begin(), made.plans.end()), made.plans.end());
    made.work_ms.assign(workers_.size() * made.plans.size(), Candidate::kNever);
    for (std::size_t w = 0; w < workers_.size(); ++w) {
      if (const CostModel* model = cost(workers_[w])) made.tokens = model->prompt_tokens(job.size);
      for (std::size_t p = 0; p < made.plans.size(); ++p)
        made.work_ms[w * made.plans.size() + p] = work(workers_[w], job, made.plans[p]);
    }
    while (made.at + 1 < made.plans.size() && made.least_work(made.at, workers_.size()) == Candidate::kNever)
      ++made.at;  // smaller plans do not fit the cache
    verdict_.waiting_tokens += made.tokens;
    return made;
  }

  void add_plans(const WorkerFacts& worker, const WaitingJob& job, std::vector<std::uint32_t>& plans) const {
    if (!serves(worker, job)) return;
    const double tokens = cache_tokens(cost(worker), job);
    for (const PlanFacts& plan : plans_of(worker)) {
      if (allows(plan, floor_of(job), job.max_plan) && fits_cache(worker, plan, tokens))
        plans.push_back(plan.plan);
    }
  }

  // On the worker's largest plan up to `plan` that the job may run on.
  [[nodiscard]] double work(const WorkerFacts& worker, const WaitingJob& job, std::uint32_t plan) const {
    if (!serves(worker, job)) return Candidate::kNever;
    const CostModel* model = cost(worker);
    const double tokens = cache_tokens(model, job);
    const std::vector<PlanFacts>& plans = plans_of(worker);
    for (auto it = plans.rbegin(); it != plans.rend(); ++it) {
      if (it->plan > plan || !allows(*it, floor_of(job), job.max_plan) || !fits_cache(worker, *it, tokens))
        continue;
      return model == nullptr ? 0 : model->of(job.size, worker.shape(it->plan)).total_ms();
    }
    return Candidate::kNever;
  }

  void raise_all_to(std::uint32_t plan) {
    for (Candidate& candidate : candidates_) {
      for (std::size_t next = candidate.at + 1; next < candidate.plans.size(); ++next) {
        if (candidate.plans[next] <= plan) candidate.at = next;
      }
    }
  }

  // The paper's code: the longest prompt or the number of jobs, looked at every few seconds, one layer at a
  // time.
  void follow_threshold() {
    const ThresholdRules& rules = settings_.threshold;
    History& history = verdict_.history;
    if (now_ms_ - history.checked_at < rules.check_ms) return;
    history.checked_at = now_ms_;
    if (history.swapped_at != 0 && now_ms_ - history.swapped_at < rules.cooldown_ms) return;
    double longest = 0;
    for (const Candidate& candidate : candidates_) longest = std::max(longest, candidate.tokens);
    std::uint32_t layers = 0;
    for (const WorkerFacts& worker : workers_) layers = std::max(layers, worker.layers);
    const auto most = static_cast<std::uint32_t>(rules.most_layers * layers);
    const std::uint64_t waiting = candidates_.size();
    if ((longest >= rules.high_tokens || waiting >= rules.high_jobs) && history.level < most) {
      set_level(history.level + 1,
                fmt::format("{} jobs wait, the longest has {:.0f} tokens", waiting, longest));
      history.swapped_at = now_ms_;
    } else if (longest < rules.low_tokens && waiting < rules.low_jobs && history.level > 0) {
      set_level(history.level - 1,
                fmt::format("{} jobs wait, the longest has {:.0f} tokens", waiting, longest));
      history.swapped_at = now_ms_;
    }
  }

  void set_level(std::uint32_t level, std::string why) {
    verdict_.history.level = level;
    verdict_.history.level_since = now_ms_;
    verdict_.why = std::move(why);
  }

  // Up at once; down only after the dwell, and then to what was needed within it.
  void follow_level() {
    History& history = verdict_.history;
    if (settings_.kind == PolicyKind::kThreshold || settings_.kind == PolicyKind::kManual) return;
    if (settings_.kind == PolicyKind::kStatic) {
      if (history.level != settings_.static_plan) set_level(settings_.static_plan, "set by hand");
      return;
    }
    std::uint32_t needed = 0;
    for (const Decision& one : verdict_.decisions) {
      if (one.reason != Reason::kMemory) needed = std::max(needed, one.plan);
    }
    const bool over = now_ms_ - history.needed_at >= settings_.dwell_ms;
    if (needed >= history.needed || over) {
      history.needed = needed;
      history.needed_at = now_ms_;
    }
    if (needed > history.level) {
      set_level(needed, fmt::format("what waits would take {:.0f} s on plan 0, and {:.0f} s now",
                                    verdict_.drain_at_plan_0_ms / 1000, verdict_.drain_ms / 1000));
    } else if (history.needed < history.level && now_ms_ - history.level_since >= settings_.dwell_ms) {
      set_level(history.needed, fmt::format("for {:.0f} s plan {} was enough",
                                            static_cast<double>(settings_.dwell_ms) / 1000, history.needed));
    }
  }

  [[nodiscard]] double drain(const std::vector<Slot>& slots) const {
    double last_ms = 0;
    for (const double free_ms : free_ms_) last_ms = std::max(last_ms, free_ms);
    for (const Slot& slot : slots) last_ms = std::max(last_ms, slot.finish_ms);
    return last_ms;
  }

  [[nodiscard]] Decision decision(const Candidate& candidate, const Slot& slot, const Slot& at_plan_0) const {
    Decision made;
    made.id = candidate.job->id;
    if (!candidate.placeable()) {
      made.reason = Reason::kNobody;
      return made;
    }
    const WorkerFacts& worker = workers_[slot.worker];
    made.plan = candidate.plans[candidate.at];
    for (const PlanFacts& plan : plans_of(worker)) {
      if (plan.plan == made.plan) made.quality = plan.plan == 0 ? std::optional(1.0) : plan.quality;
    }
    const bool known = cost(worker) != nullptr;
    if (known) {
      made.start_ms = now_ms_ + std::llround(slot.start_ms);
      made.finish_ms = now_ms_ + std::llround(slot.finish_ms);
      made.late = candidate.has_deadline && slot.finish_ms > static_cast<double>(candidate.due_ms);
    }
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
      const bool in_time = at_plan_0.finish_ms <= static_cast<double>(candidate.due_ms);
      return in_time || candidate.plans.size() == 1 ? Reason::kNoLoad : Reason::kNoUse;
    }
    if (candidate.at == 0) return Reason::kMemory;
    const bool any_deadline =
        candidate.has_deadline && at_plan_0.finish_ms > static_cast<double>(candidate.due_ms);
    return any_deadline ? Reason::kDeadline : Reason::kTarget;
  }

  const Settings& settings_;
  std::vector<WaitingJob> jobs_;
  const std::vector<WorkerFacts>& workers_;
  const CostModels& costs_;
  std::int64_t now_ms_;
  std::vector<double> free_ms_;
  std::vector<Candidate> candidates_;
  Verdict verdict_;
};

}  // namespace

bool runs_before(const WaitingJob& a, const WaitingJob& b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  if (a.turn_ms != b.turn_ms) return a.turn_ms < b.turn_ms;
  return a.id < b.id;
}

Verdict decide(const Settings& settings, const History& history, std::vector<WaitingJob> jobs,
               const std::vector<WorkerFacts>& workers, const CostModels& costs, std::int64_t now_ms) {
  return Deciding(settings, history, std::move(jobs), workers, costs, now_ms).run();
}

std::uint32_t cap(const WorkerFacts& worker, std::uint32_t plan, double min_quality,
                  std::optional<std::uint32_t> max_plan) {
  std::uint32_t largest = 0;
  for (const PlanFacts& one : plans_of(worker)) {
    if (one.plan <= plan && allows(one, min_quality, max_plan)) largest = std::max(largest, one.plan);
  }
  return largest;
}

std::string explain(const Decision& decision, const Settings& settings, const Verdict& verdict) {
  const double on_plan_0_s = verdict.drain_at_plan_0_ms / 1000;
  switch (decision.reason) {
    case Reason::kManual:
      return "a person set the plan";
    case Reason::kTerms:
      return fmt::format("the job's own terms, or the floor of {:g}, allow no larger plan",
                         settings.min_quality);
    case Reason::kSetting:
      return settings.kind == PolicyKind::kStatic ? "one plan for all jobs that allow it"
                                                  : "by the longest prompt and the number of jobs";
    case Reason::kNoLoad:
      return fmt::format("in time on plan 0: what waits takes {:.1f} s", on_plan_0_s);
    case Reason::kNoUse:
      return "it comes too late on every plan that it allows, or by way of other jobs; none makes it earlier";
    case Reason::kDeadline:
      return "the smallest plan by which its deadline is met";
    case Reason::kTarget:
      return fmt::format("what waits would take {:.1f} s on plan 0 and is wanted within {:.1f} s",
                         on_plan_0_s, static_cast<double>(settings.target_drain_ms) / 1000);
    case Reason::kLateAnyway:
      return "it misses its deadline on every plan that it allows";
    case Reason::kMemory:
      return "on a smaller plan it does not fit the worker's cache";
    case Reason::kUnknownSpeed:
      return "no job has ended yet, so nothing is known of the workers' speed";
    case Reason::kNobody:
      return "no connected worker can take it: its model or its length asks for another one";
  }
  return {};
}

}  // namespace dslad::daemon::policy
