// What reruns show of plans, and which plans are given to no job for that.
#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/process/log.h"
#include "daemon/dispatch/planner.h"
#include "daemon/store/reruns.h"

namespace dslad::daemon {
namespace {

constexpr std::uint64_t kFewestCompared = 8;   // jobs of a plan, before its agreement counts
constexpr std::uint32_t kLatestCompared = 20;  // jobs of a plan, that its agreement is of

using Agreements = std::vector<schema::PlanAgreement>;

bool is_withdrawn(const Agreements& all, const schema::PlanAgreement& plan) {
  return std::ranges::any_of(all, [&](const schema::PlanAgreement& one) {
    return one.withdrawn && one.model_digest == plan.model_digest && one.edition == plan.edition &&
           one.plan == plan.plan;
  });
}

std::string numbers(const schema::PlanAgreement& one, double min_agreement) {
  return fmt::format(
      "answers of plan {} (edition {:.12}) agree to {:.0f}% with plan 0's over the latest {} jobs, and "
      "policy.min_agreement is {:.0f}%",
      one.plan, one.edition, 100 * one.agreement, one.jobs, 100 * min_agreement);
}

std::string withdrawn_text(const schema::PlanAgreement& one, double min_agreement) {
  return fmt::format("plans of {} from {} on are given to no job: {}", one.model, one.plan,
                     numbers(one, min_agreement));
}

}  // namespace

void Planner::recall_agreements() {
  store_.post(Work(plan_agreements, kLatestCompared), [this](Result<Agreements> agreements) {
    // Without them the next rerun's end tells.
    use_agreements(agreements ? std::move(agreements).value() : agreements_);
    if (!std::exchange(agreements_known_, true)) listener_.judged();  // what was announced before
  });
}

void Planner::use_agreements(Agreements agreements) {
  const Agreements before = std::exchange(agreements_, std::move(agreements));
  const double least = settings_.idle.min_agreement;
  for (schema::PlanAgreement& one : agreements_)
    one.withdrawn = one.jobs >= kFewestCompared && one.agreement < least;
  bool changed = false;
  for (const schema::PlanAgreement& one : agreements_) {
    if (!one.withdrawn || is_withdrawn(before, one)) continue;
    changed = true;
    const std::string why = withdrawn_text(one, least);
    process::log_warning(process::kPlanWithdrawn, why);
    if (agreements_known_) note_judgement(one, why);  // else it was recorded before the restart
  }
  for (const schema::PlanAgreement& one : before) {
    if (!one.withdrawn || is_withdrawn(agreements_, one)) continue;
    changed = true;
    const auto now = std::ranges::find_if(agreements_, [&](const schema::PlanAgreement& other) {
      return other.model_digest == one.model_digest && other.edition == one.edition && other.plan == one.plan;
    });
    note_judgement(one, fmt::format("plans of {} from {} on are given again: {}", one.model, one.plan,
                                    now == agreements_.end() ? "the jobs that were compared are forgotten"
                                                             : numbers(*now, least)));
  }
  look_again();
  if (changed && agreements_known_) listener_.judged();
}

// Beside the changes of the model's plan in force, which stays.
void Planner::note_judgement(const schema::PlanAgreement& plan, const std::string& why) {
  schema::PolicyChange change = change_of(plan.model_digest, verdict_);
  change.model = plan.model;
  change.from = change.to;
  change.why = why;
  listener_.changed(change);
}

std::optional<Judged> Planner::judged(const WorkerState& worker) const {
  if (!agreements_known_) return std::nullopt;
  Judged judged;
  for (const schema::PlanAgreement& one : agreements_) {
    if (!one.withdrawn || one.model_digest != worker.hello.model_digest ||
        one.edition != worker.hello.edition || (judged.withdrawn && *judged.withdrawn <= one.plan))
      continue;
    judged = {one.plan, withdrawn_text(one, settings_.idle.min_agreement)};
  }
  return judged;
}

}  // namespace dslad::daemon
