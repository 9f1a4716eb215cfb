// Which worker has room for a job that was too large for one, and on which plan.
#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "daemon/dispatch/planner.h"
#include "daemon/policy/announced.h"
#include "daemon/policy/memory.h"

namespace dslad::daemon {
namespace {

bool serves(const schema::Hello& worker, const QueuedJob& job) {
  return worker.capacity > 0 && policy::may_answer(worker.model, worker.model_digest, job.model) &&
         worker.context >= job.needs_context;
}

const policy::PlanFacts* plan_of(const policy::WorkerFacts& worker, std::uint32_t plan) {
  const auto found = std::ranges::find(worker.plans, plan, &policy::PlanFacts::plan);
  return found == worker.plans.end() ? nullptr : &*found;
}

double bytes_of(const policy::PlanFacts& plan, const QueuedJob& job) {
  return policy::cache_bytes_of(plan, static_cast<double>(job.needs_tokens), job.questions);
}

bool fits(const policy::WorkerFacts& worker, const policy::PlanFacts& plan, const QueuedJob& job) {
  return policy::fits_cache(worker, plan, static_cast<double>(job.needs_tokens), job.questions);
}

// Tokens for which the refused plan has no room at the worker; 0 where the figures do not say so.
std::uint64_t tokens_refused(const policy::WorkerFacts& worker, const schema::WorkerResult& result,
                             std::uint32_t questions) {
  const policy::PlanFacts* plan = plan_of(worker, result.metrics.plan);
  if (plan == nullptr) return 0;
  const std::uint64_t tokens = policy::tokens_of(*plan, result.needs_cache_bytes, questions);
  return policy::fits_cache(worker, *plan, static_cast<double>(tokens), questions) ? 0 : tokens;
}

std::string mib(double bytes) {
  return fmt::format("{:.1f} MiB", bytes / (1 << 20));
}

// A plan of a worker, and the share of its cache that a job would take.
struct Place {
  const WorkerState* worker = nullptr;
  policy::PlanFacts plan;
  double share = 0;
};

std::string too_large(const Place& best, const QueuedJob& job) {
  const schema::Hello& worker = best.worker->hello;
  return fmt::format(
      "no worker that is connected has room for it on any plan: it takes {} of the {} that {} has, on plan "
      "{}",
      mib(bytes_of(best.plan, job)), mib(static_cast<double>(worker.cache_bytes)), worker.name,
      best.plan.plan);
}

}  // namespace

std::vector<PlanRoom> Planner::room(const WorkerState& worker) const {
  const bool by_hand = settings_.kind == policy::PolicyKind::kManual;
  const policy::WorkerFacts offered = by_hand ? policy::facts_of(worker.hello) : facts(worker);
  std::vector<PlanRoom> plans;
  if (offered.cache_bytes == 0) return plans;
  if (by_hand && plan_of(offered, worker.hello.plan) == nullptr) return plans;
  for (const policy::PlanFacts& one : offered.plans) {
    if (by_hand ? one.plan > worker.hello.plan : !policy::allows(one, settings_.min_quality, std::nullopt))
      continue;
    plans.push_back({one.plan, one.quality.value_or(0), one.kv_bytes_per_token, one.state_bytes});
  }
  return plans;
}

bool Planner::has_room(const WorkerState& worker, const QueuedJob& job) const {
  const policy::WorkerFacts offered = policy::facts_of(worker.hello);
  const PlanChoice choice = plan_chooser(worker)(job);
  const policy::PlanFacts* plan = plan_of(offered, choice.plan.value_or(worker.hello.plan));
  return plan == nullptr || fits(offered, *plan, job);
}

Refusal Planner::refused(const WorkerState& worker, const QueuedJob& job,
                         const schema::WorkerResult& result) const {
  QueuedJob known = job;
  known.needs_context = std::max(job.needs_context, result.needs_context);
  const std::uint64_t tokens = tokens_refused(policy::facts_of(worker.hello), result, job.questions);
  known.needs_tokens = std::max(job.needs_tokens, tokens);
  // What it refused without figures for the plan it would refuse again.
  const bool may_be_same = tokens > 0;
  const std::uint64_t needs_bytes =
      std::max(job.needs_cache_bytes, tokens > 0 ? 0 : result.needs_cache_bytes);
  Refusal refusal;
  refusal.needs_tokens = tokens;
  for (const WorkerState* other : table_.connected()) {
    if (!serves(other->hello, known) || (other == &worker && !may_be_same)) continue;
    if (other->hello.cache_bytes < needs_bytes) continue;
    if (known.needs_tokens == 0 || has_room(*other, known)) refusal.fits = true;
  }
  if (!refusal.fits && tokens > 0) refusal.why_not = why_no_room(known);
  return refusal;
}

std::string Planner::why_no_room(const QueuedJob& job) const {
  // Of plans that have room the smallest, first of those that the floor allows; what comes closest to room.
  std::optional<Place> smallest, best;
  const auto rank = [&](const policy::PlanFacts& plan) {
    return std::pair(!policy::allows(plan, settings_.min_quality, std::nullopt), plan.plan);
  };
  for (const WorkerState* worker : table_.connected()) {
    if (!serves(worker->hello, job)) continue;
    const policy::WorkerFacts offered = policy::facts_of(worker->hello);
    for (const policy::PlanFacts& plan : offered.plans) {
      const Place place{worker, plan, bytes_of(plan, job) / static_cast<double>(offered.cache_bytes)};
      if (!best || place.share < best->share) best = place;
      if (fits(offered, plan, job) && (!smallest || rank(plan) < rank(smallest->plan))) smallest = place;
    }
  }
  if (!smallest) return best ? too_large(*best, job) : "";
  return why_not_on(smallest->plan, job);
}

std::string Planner::why_not_on(const policy::PlanFacts& plan, const QueuedJob& job) const {
  const bool by_hand = settings_.kind == policy::PolicyKind::kManual;
  const auto below = [&](double min_quality) { return !policy::allows(plan, min_quality, std::nullopt); };
  policy::Bound bound;
  bound.next = plan.plan;
  bound.quality = plan.quality;
  if (!by_hand && below(settings_.min_quality)) bound.floor = settings_.min_quality;
  if (job.min_quality && below(*job.min_quality)) bound.min_quality = job.min_quality;
  if (job.max_plan && plan.plan > *job.max_plan) bound.max_plan = job.max_plan;
  if (bound.floor || bound.min_quality || bound.max_plan) return policy::text_of_room(bound);
  if (by_hand) {
    return fmt::format("plans are set by hand, and plan {} has room for it (dslactl plan set {})", plan.plan,
                       plan.plan);
  }
  bound.withdrawn = plan.plan;
  return policy::text_of_room(bound);
}

}  // namespace dslad::daemon
