#include "daemon/policy/bound.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <map>

#include "daemon/policy/candidates.h"

namespace dslad::daemon::policy {
namespace {

std::string percent(double share) {
  return fmt::format("{:.4g}%", 100 * share);
}

std::string no_larger(const Bound& bound) {
  if (bound.withdrawn) {
    return fmt::format("plans from {} on are given to no job, as answers agree too little with plan 0's",
                       *bound.withdrawn);
  }
  if (bound.most == 0) return "no worker that can take it has a distilled layer to use";
  return fmt::format("no worker that can take it has a plan above {}", bound.most);
}

const PlanFacts* best_above_0(const WorkerFacts& worker) {
  const PlanFacts* best = nullptr;
  for (const PlanFacts& plan : worker.plans) {
    if (plan.plan == 0 || !plan.quality) continue;
    if (best == nullptr || *plan.quality > *best->quality) best = &plan;
  }
  return best;
}

std::string next_of(const Bound& bound) {
  if (!bound.quality) return fmt::format("plan {}, which was not measured,", *bound.next);
  return fmt::format("plan {} of {} of plan 0's quality", *bound.next, percent(*bound.quality));
}

// "is below the floor of 100% and is above plan 0 of its own terms"
std::string forbidden(const Bound& bound) {
  const std::string is = bound.quality ? "is" : "counts as";
  std::vector<std::string> why;
  if (bound.floor) why.push_back(fmt::format("{} below the floor of {}", is, percent(*bound.floor)));
  if (bound.min_quality)
    why.push_back(fmt::format("{} below the {} of its own terms", is, percent(*bound.min_quality)));
  if (bound.max_plan) why.push_back(fmt::format("is above plan {} of its own terms", *bound.max_plan));
  if (bound.memory) why.emplace_back("has states for which its worker's cache has no room");
  return fmt::format("{}", fmt::join(why, " and "));
}

}  // namespace

std::string text_of(const Bound& bound) {
  if (!bound.next) return no_larger(bound);
  return fmt::format("no larger plan is allowed: {} {}", next_of(bound), forbidden(bound));
}

std::string text_of_room(const Bound& bound) {
  return fmt::format("{} has room for it, but {}", next_of(bound),
                     bound.withdrawn ? "is given to no job, as its answers agree too little with plan 0's"
                                     : forbidden(bound));
}

std::vector<std::string> notes_on_chains(const std::vector<WorkerFacts>& workers) {
  struct Model {
    std::string name;
    bool has_plans = false;
  };
  std::map<std::string, Model> models;  // by digest
  for (const WorkerFacts& worker : workers) {
    Model& model = models[worker.model_digest];
    model.name = worker.model;
    model.has_plans = model.has_plans || worker.withdrawn ||
                      std::ranges::any_of(worker.plans, [](const PlanFacts& plan) { return plan.plan > 0; });
  }
  std::vector<std::string> notes;
  for (const auto& [digest, model] : models) {
    if (model.has_plans) continue;
    notes.push_back(fmt::format(
        "no worker of {} has a distilled layer: all its jobs run on plan 0 until its model folder "
        "has a chain (dslad-model distil)",
        model.name));
  }
  return notes;
}

std::vector<std::string> notes_on_floor(const std::vector<WorkerFacts>& workers, double min_quality) {
  constexpr std::uint32_t kAny = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::string> notes;
  for (const WorkerFacts& worker : workers) {
    const bool has_any =
        std::ranges::any_of(worker.plans, [](const PlanFacts& plan) { return plan.plan > 0; });
    if (!has_any || cap(worker, kAny, min_quality, std::nullopt) > 0) continue;
    const PlanFacts* best = best_above_0(worker);
    std::string note =
        fmt::format("min_quality {} leaves {} no plan above 0: {}", percent(min_quality), worker.model,
                    best == nullptr ? "none was measured, and such need a min_quality of 0"
                                    : fmt::format("the best is plan {}, of {} of plan 0's quality",
                                                  best->plan, percent(*best->quality)));
    if (std::ranges::find(notes, note) == notes.end()) notes.push_back(std::move(note));
  }
  return notes;
}

}  // namespace dslad::daemon::policy
