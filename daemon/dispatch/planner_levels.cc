// The plans in force, one a model: what becomes of them is recorded, told, and known again after a restart.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <tuple>
#include <utility>

#include "base/process/log.h"
#include "daemon/dispatch/planner.h"
#include "daemon/policy/level.h"

namespace dslad::daemon {

// Under `manual` they are what workers have.
void Planner::take_levels_by_hand() {
  std::map<std::string, std::uint32_t> plans;
  for (const WorkerState* worker : table_.connected()) {
    std::uint32_t& plan = plans[worker->hello.model_digest];
    plan = std::max(plan, worker->hello.plan);
  }
  for (const auto& [model, plan] : plans) {
    policy::Level& level = history_.levels[model];
    if (level.plan == plan) continue;
    level = {};
    level.plan = plan;
    level.since = clock_.steady_ms();
  }
}

void Planner::note_levels(const policy::Verdict& verdict) {
  history_ = verdict.history;
  if (settings_.kind == policy::PolicyKind::kManual) return;
  for (const auto& [model, own] : verdict.models) {
    const auto known = changes_.find(model);
    const std::uint32_t before = known == changes_.end() ? 0 : known->second.to;
    if (history_.level_of(model) == before) continue;
    schema::PolicyChange change = change_of(model, verdict);
    change.from = before;
    changes_[model] = change;
    process::log_info(process::kPolicyTakesPlan,
                      fmt::format("the policy takes plan {} of {} after {}: {}", change.to, change.model,
                                  before, change.why),
                      {{"POLICY", std::string(schema::to_string(settings_.kind))},
                       {"WAITING_JOBS", std::to_string(change.waiting_jobs)}});
    listener_.changed(change);
  }
}

schema::PolicyChange Planner::change_of(const std::string& model_digest,
                                        const policy::Verdict& verdict) const {
  const auto found = verdict.models.find(model_digest);
  const policy::ModelVerdict own = found == verdict.models.end() ? policy::ModelVerdict{} : found->second;
  const auto of_share = [&](std::uint64_t all) {
    return verdict.jobs == 0 ? 0 : all * own.load.jobs / verdict.jobs;
  };
  // Those behind the head are taken to be like it.
  const double more =
      snapshot_.jobs.empty()
          ? 1.0
          : std::max(1.0, static_cast<double>(snapshot_.queued) / static_cast<double>(snapshot_.jobs.size()));
  schema::PolicyChange change;
  change.time_ms = clock_.wall_ms();
  change.policy = settings_.kind;
  change.model = name_of(model_digest);
  change.model_digest = model_digest;
  change.to = history_.level_of(model_digest);
  change.why = own.why.empty() ? "it was set by hand before" : own.why;
  change.waiting_jobs = of_share(snapshot_.queued);
  change.waiting_tokens = static_cast<std::uint64_t>(std::llround(own.load.waiting_tokens * more));
  change.drain_ms = static_cast<std::uint64_t>(std::llround(own.load.drain_at_plan_0_ms * more));
  return change;
}

std::string Planner::name_of(const std::string& model_digest) const {
  for (const WorkerState* worker : table_.connected()) {
    if (worker->hello.model_digest == model_digest) return worker->hello.model;
  }
  return {};
}

// How long they have been needed for was not stored: each is taken to have been until now.
void Planner::restore_levels(const std::vector<schema::PolicyChange>& latest) {
  const std::int64_t now_ms = clock_.steady_ms();
  for (const schema::PolicyChange& change : latest) {
    changes_[change.model_digest] = change;
    policy::Level& level = history_.levels[change.model_digest];
    level.plan = level.needed = change.to;
    level.needed_at = now_ms;
    level.since = level.swapped_at = std::min(now_ms, steady(change.time_ms));
  }
}

std::string Planner::why_of(const WorkerState& worker) const {
  const auto known = changes_.find(worker.hello.model_digest);
  return known == changes_.end() ? "" : known->second.why;
}

std::vector<schema::PolicyLevel> Planner::levels() const {
  const bool by_hand = settings_.kind == policy::PolicyKind::kManual;
  std::map<std::pair<std::string, std::string>, schema::PolicyLevel> found;  // by name and digest
  for (const WorkerState* worker : table_.connected()) {
    const schema::Hello& hello = worker->hello;
    schema::PolicyLevel& level = found[{hello.model, hello.model_digest}];
    level.model = hello.model;
    level.model_digest = hello.model_digest;
    level.plan = by_hand ? std::max(level.plan, hello.plan) : history_.level_of(hello.model_digest);
    level.why = by_hand ? "set by hand" : why_of(*worker);
    if (const auto changed = changes_.find(hello.model_digest); changed != changes_.end() && !by_hand)
      level.since_ms = changed->second.time_ms;
    if (const auto own = verdict_.models.find(hello.model_digest); own != verdict_.models.end())
      level.change_cost_ms = static_cast<std::uint64_t>(std::llround(own->second.change_cost_ms));
  }
  std::vector<schema::PolicyLevel> all;
  all.reserve(found.size());
  for (auto& [name, level] : found) all.push_back(std::move(level));
  return all;
}

std::vector<std::string> Planner::notes() const {
  std::vector<std::string> all;
  for (const WorkerState* worker : table_.connected()) {
    const schema::Hello& hello = worker->hello;
    if (!hello.chain_fault.empty())
      all.push_back(fmt::format("{} of worker {}: {}", hello.model, hello.name, hello.chain_fault));
  }
  if (settings_.kind == policy::PolicyKind::kManual) return all;
  const std::vector<policy::WorkerFacts> offered = workers();
  if (settings_.kind != policy::PolicyKind::kStatic) {
    std::ranges::move(policy::notes_on_chains(offered), std::back_inserter(all));
    std::ranges::move(policy::notes_on_floor(offered, settings_.min_quality), std::back_inserter(all));
    return all;
  }
  if (settings_.static_plan == 0) return all;
  std::map<std::string, std::string> models;  // names, by digest
  for (const policy::WorkerFacts& worker : offered) models[worker.model_digest] = worker.model;
  for (const auto& [digest, name] : models) {
    const std::uint32_t most = policy::most_allowed(offered, digest, settings_.static_plan, 0);
    const std::uint32_t allowed =
        policy::most_allowed(offered, digest, settings_.static_plan, settings_.min_quality);
    if (most < settings_.static_plan) {
      all.push_back(
          fmt::format("plan {} is static, but no worker of {} offers one above {}: its jobs are given "
                      "plan {} at most",
                      settings_.static_plan, name, most, allowed));
    } else if (allowed < most) {
      all.push_back(fmt::format("plan {} is static, but the floor of {:g} allows jobs of {} none above {}",
                                settings_.static_plan, settings_.min_quality, name, allowed));
    }
  }
  return all;
}

}  // namespace dslad::daemon
