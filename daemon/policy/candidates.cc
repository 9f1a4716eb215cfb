#include "daemon/policy/candidates.h"

#include <algorithm>

#include "daemon/policy/memory.h"

namespace dslad::daemon::policy {
namespace {

// Of each plan. One that was not measured lies on the line between its neighbours that were, so that it is no
// bargain for want of a measurement; behind the last of them each layer costs a guess.
std::vector<double> losses_of(const std::vector<PlanFacts>& plans) {
  constexpr double kGuess = 1e-3;  // of a layer
  const auto measured = [](const PlanFacts& plan) { return plan.plan == 0 || plan.quality.has_value(); };
  const auto loss = [](const PlanFacts& plan) { return plan.plan == 0 ? 0 : 1 - *plan.quality; };
  std::vector<double> losses;
  losses.reserve(plans.size());
  const PlanFacts none{0, 1.0, 0, 0};
  const PlanFacts* below = &none;
  for (auto plan = plans.begin(); plan != plans.end(); ++plan) {
    if (measured(*plan)) {
      below = &*plan;
      losses.push_back(loss(*plan));
      continue;
    }
    const double layers = plan->plan - below->plan;
    const auto above = std::find_if(plan, plans.end(), measured);
    const double a_layer =
        above == plans.end() ? kGuess : (loss(*above) - loss(*below)) / (above->plan - below->plan);
    losses.push_back(loss(*below) + a_layer * layers);
  }
  return losses;
}

const CostModel* learnt(const CostModels& costs, const std::string& speed_key) {
  const auto found = costs.find(speed_key);
  return found == costs.end() || found->second.jobs() == 0 ? nullptr : &found->second;
}

}  // namespace

const std::vector<PlanFacts>& plans_of(const WorkerFacts& worker) {
  static const std::vector<PlanFacts> kPlanZero = {{0, 1.0, 0, 0}};
  return worker.plans.empty() ? kPlanZero : worker.plans;
}

bool allows(const PlanFacts& plan, double min_quality, std::optional<std::uint32_t> max_plan) {
  if (plan.plan == 0) return true;
  if (max_plan && plan.plan > *max_plan) return false;
  return plan.quality ? *plan.quality >= min_quality : min_quality <= 0;
}

std::uint32_t cap(const WorkerFacts& worker, std::uint32_t plan, double min_quality,
                  std::optional<std::uint32_t> max_plan) {
  std::uint32_t largest = 0;
  for (const PlanFacts& one : plans_of(worker)) {
    if (one.plan <= plan && allows(one, min_quality, max_plan)) largest = std::max(largest, one.plan);
  }
  return largest;
}

std::optional<std::uint32_t> with_room(const WorkerFacts& worker, std::uint32_t plan, double min_quality,
                                       std::optional<std::uint32_t> max_plan, double tokens,
                                       std::uint32_t questions) {
  std::optional<std::uint32_t> found;
  for (const PlanFacts& one : plans_of(worker)) {  // ascending
    if (!allows(one, min_quality, max_plan) || !fits_cache(worker, one, tokens, questions)) continue;
    if (one.plan > plan && found) break;
    found = one.plan;
  }
  return found;
}

Candidates::Candidates(const std::vector<WorkerFacts>& workers, const CostModels& costs, double min_quality,
                       std::int64_t target_drain_ms, std::int64_t now_ms)
    : workers_(workers),
      min_quality_(min_quality),
      target_drain_ms_(target_drain_ms),
      now_ms_(now_ms),
      options_(workers.size()) {
  for (const WorkerFacts& worker : workers) {
    costs_.push_back(cost_of(worker, workers, costs));
    std::vector<PlanShape>& shapes = shapes_.emplace_back();
    for (const PlanFacts& plan : plans_of(worker)) shapes.push_back(worker.shape(plan.plan));
    losses_.push_back(losses_of(plans_of(worker)));
  }
}

// A worker that has ended no job is taken to be like another one of its model: were it taken to need no time
// at all, a schedule would give it everything.
Candidates::Cost Candidates::cost_of(const WorkerFacts& worker, const std::vector<WorkerFacts>& workers,
                                     const CostModels& costs) {
  if (const CostModel* own = learnt(costs, worker.speed_key)) return {own, true};
  for (const WorkerFacts& other : workers) {
    if (other.model_digest != worker.model_digest) continue;
    if (const CostModel* model = learnt(costs, other.speed_key)) return {model, false};
  }
  return {};
}

bool Candidates::serves(std::size_t worker, const WaitingJob& job) const {
  const WorkerFacts& facts = workers_[worker];
  if (!may_answer(facts.model, facts.model_digest, job.model)) return false;
  const CostModel* model = costs_[worker].model;
  const bool fits_itself = job.size.overflow != schema::Overflow::kError;
  return model == nullptr || facts.context == 0 || fits_itself ||
         model->prompt_tokens(job.size) <= facts.context;
}

double Candidates::memory_tokens(std::size_t worker, const WaitingJob& job) const {
  if (job.needs_tokens > 0) return static_cast<double>(job.needs_tokens);
  const CostModel* model = costs_[worker].model;
  if (model == nullptr || job.size.overflow != schema::Overflow::kError) return 0;
  return model->most_prompt_tokens(job.size) + job.size.max_tokens;
}

void Candidates::find_options(const WaitingJob& job, std::size_t worker, std::vector<Option>& options) const {
  options.clear();
  if (!serves(worker, job)) return;
  const WorkerFacts& facts = workers_[worker];
  const CostModel* model = costs_[worker].model;
  const double tokens = memory_tokens(worker, job);
  const double floor = std::max(min_quality_, job.min_quality.value_or(0));
  const std::vector<PlanFacts>& plans = plans_of(facts);
  for (const PlanFacts& plan : plans) {
    if (!allows(plan, floor, job.max_plan) || !fits_cache(facts, plan, tokens, job.size.questions)) continue;
    const auto index = static_cast<std::size_t>(&plan - plans.data());
    const PlanShape& shape = shapes_[worker][index];
    const double known = facts.knows(job.document, plan.plan);
    options.push_back({plan.plan,
                       model == nullptr ? 0 : model->of(job.size, shape, facts.context, known).total_ms(),
                       losses_[worker][index]});
  }
}

Bound Candidates::bound(const WaitingJob& job, std::uint32_t most) const {
  Bound made;
  made.most = most;
  for (std::size_t w = 0; w < workers_.size() && !made.next; ++w) {
    if (!serves(w, job)) continue;
    const WorkerFacts& facts = workers_[w];
    if (facts.withdrawn && *facts.withdrawn > most) made.withdrawn = facts.withdrawn;
    const std::vector<PlanFacts>& plans = plans_of(facts);
    const auto above = std::ranges::find_if(plans, [&](const PlanFacts& plan) { return plan.plan > most; });
    if (above == plans.end()) continue;
    made.next = above->plan;
    made.quality = above->quality;
    if (!allows(*above, min_quality_, std::nullopt)) made.floor = min_quality_;
    if (job.min_quality && !allows(*above, *job.min_quality, std::nullopt))
      made.min_quality = job.min_quality;
    if (job.max_plan && above->plan > *job.max_plan) made.max_plan = job.max_plan;
    made.memory = !fits_cache(facts, *above, memory_tokens(w, job), job.size.questions);
  }
  return made;
}

// A schedule has jobs run one after the other. But an answer is written while the prompts behind it are read:
// a job among B ends later than so, by about the work of (B - 1) / 2 like it.
double Candidates::margin(const Candidate& candidate) const {
  constexpr double kMostOfTime = 0.25;
  double batch = 1;
  for (const Cost& cost : costs_) {
    if (cost.model != nullptr) batch = std::max(batch, cost.model->batch());
  }
  double least_ms = Candidate::kNever;
  for (std::size_t plan = 0; plan < candidate.plans.size(); ++plan)
    least_ms = std::min(least_ms, candidate.least_work(plan));
  return std::max(0.0, std::min((batch - 1) / 2 * least_ms, kMostOfTime * candidate.due_ms));
}

Candidate Candidates::of(const WaitingJob& job) {
  Candidate made;
  made.job = &job;
  made.has_deadline = job.deadline_ms.has_value();
  made.due_ms = static_cast<double>(job.deadline_ms.value_or(job.submitted_ms + target_drain_ms_) - now_ms_);
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    find_options(job, w, options_[w]);
    for (const Option& option : options_[w]) made.plans.push_back(option.plan);
    if (!options_[w].empty() && costs_[w].model != nullptr)
      made.tokens = costs_[w].model->prompt_tokens(job.size);
  }
  std::sort(made.plans.begin(), made.plans.end());
  made.plans.erase(std::unique(made.plans.begin(), made.plans.end()), made.plans.end());
  made.loss.resize(made.plans.size());
  made.work_ms.reserve(workers_.size() * made.plans.size());
  for (const std::vector<Option>& options : options_) {
    auto option = options.begin();
    double work_ms = Candidate::kNever;
    for (std::size_t at = 0; at < made.plans.size(); ++at) {
      for (; option != options.end() && option->plan <= made.plans[at]; ++option) {
        work_ms = option->work_ms;
        if (option->plan == made.plans[at]) made.loss[at] = std::max(made.loss[at], option->loss);
      }
      made.work_ms.push_back(work_ms);
    }
  }
  made.aim_ms = made.due_ms;
  if (made.has_deadline && made.placeable()) made.aim_ms -= margin(made);
  return made;
}

}  // namespace dslad::daemon::policy
