#include "daemon/dispatch/plan_changes.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace dslad::daemon {

using schema::WorkerPlan;

std::uint64_t PlanChanges::open(const AskedPlan& asked, std::vector<std::string> instances,
                                std::int64_t deadline_ms, PlanDone done) {
  const std::uint64_t request = ++last_request_;
  open_[request] = {asked, std::move(instances), deadline_ms, {}, std::nullopt, std::move(done)};
  return request;
}

std::optional<AskedPlan> PlanChanges::asked(std::uint64_t request, const std::string& instance) const {
  const auto found = open_.find(request);
  if (found == open_.end()) return std::nullopt;
  const std::vector<std::string>& owing = found->second.owing;
  if (std::find(owing.begin(), owing.end(), instance) == owing.end()) return std::nullopt;
  return found->second.asked;
}

std::optional<AskedPlan> PlanChanges::newest() const {
  std::optional<AskedPlan> newest;
  for (const auto& [request, change] : open_) {
    if (!change.asked.of_everybody) continue;
    if (!newest || change.asked.generation > newest->generation) newest = change.asked;
  }
  return newest;
}

void PlanChanges::answered(std::uint64_t request, const std::string& instance, Result<WorkerPlan> answer) {
  const auto found = open_.find(request);
  if (found == open_.end()) return;
  Change& change = found->second;
  if (std::erase(change.owing, instance) == 0) return;
  if (answer) {
    change.reply.workers.push_back(std::move(answer).value());
  } else if (!change.error) {
    change.error = answer.error();
  }
  close_if_complete(request);
}

void PlanChanges::worker_left(const std::string& instance) {
  std::vector<std::uint64_t> requests;
  for (const auto& [request, change] : open_) requests.push_back(request);
  for (const std::uint64_t request : requests) {
    answered(request, instance,
             Error{ErrorCode::kUnavailable, "a worker left before it confirmed the plan; ask again"});
  }
}

void PlanChanges::tick(std::int64_t now_ms) {
  std::vector<std::uint64_t> late;
  for (auto& [request, change] : open_) {
    if (change.deadline_ms > now_ms) continue;
    if (!change.error) {
      change.error =
          Error{ErrorCode::kUnavailable,
                fmt::format("{} worker(s) have not confirmed plan {} in time; see `dslactl plan show`",
                            change.owing.size(), change.asked.plan.plan)};
    }
    change.owing.clear();
    late.push_back(request);
  }
  for (const std::uint64_t request : late) close_if_complete(request);
}

void PlanChanges::end_all(const Error& error) {
  for (auto& [request, change] : std::exchange(open_, {})) change.done(error);
}

void PlanChanges::close_if_complete(std::uint64_t request) {
  const auto found = open_.find(request);
  if (found == open_.end() || !found->second.owing.empty()) return;
  Change change = std::move(found->second);
  open_.erase(found);  // before `done`, which may open another
  if (change.error) {
    change.done(*change.error);
  } else {
    change.done(std::move(change.reply));
  }
}

}  // namespace dslad::daemon
