#include "daemon/dispatch/plan_changes.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace dslad::daemon {

using schema::WorkerPlan;

std::uint64_t PlanChanges::open(const AskedPlan& asked, Names workers, std::int64_t deadline_ms,
                                PlanDone done) {
  const std::uint64_t request = ++last_request_;
  open_[request] = {asked, std::move(workers), {}, deadline_ms, {}, std::move(done)};
  return request;
}

std::optional<AskedPlan> PlanChanges::asked(std::uint64_t request, const std::string& instance) const {
  const auto found = open_.find(request);
  if (found == open_.end() || !found->second.owing.contains(instance)) return std::nullopt;
  return found->second.asked;
}

std::optional<std::uint64_t> PlanChanges::owed(std::uint64_t generation, const std::string& instance) const {
  for (const auto& [request, change] : open_) {
    const bool owes = change.owing.contains(instance) && !change.confirmed.contains(instance);
    if (change.asked.generation == generation && owes) return request;
  }
  return std::nullopt;
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
  const auto owing = change.owing.extract(instance);
  if (owing.empty()) return;
  if (answer) {
    change.reply.workers.push_back(std::move(answer).value());
  } else {
    WorkerPlan& refusal = change.reply.workers.emplace_back();
    refusal.worker = owing.mapped();
    refusal.error = answer.error();
  }
  close_if_complete(request);
}

void PlanChanges::confirmed(std::uint64_t request, const std::string& instance) {
  const auto found = open_.find(request);
  if (found != open_.end() && found->second.owing.contains(instance))
    found->second.confirmed.insert(instance);
}

void PlanChanges::worker_left(const std::string& instance, const std::string& why) {
  std::vector<std::uint64_t> requests;
  for (const auto& [request, change] : open_) {
    if (!change.confirmed.contains(instance)) requests.push_back(request);
  }
  for (const std::uint64_t request : requests) {
    answered(request, instance,
             Error{ErrorCode::kUnavailable,
                   fmt::format("it left before it confirmed the plan ({}); ask again", why)});
  }
}

void PlanChanges::tick(std::int64_t now_ms) {
  std::vector<std::pair<std::uint64_t, std::string>> late;
  for (const auto& [request, change] : open_) {
    if (change.deadline_ms > now_ms) continue;
    for (const auto& [instance, name] : change.owing) late.emplace_back(request, instance);
  }
  for (const auto& [request, instance] : late) {
    answered(
        request, instance,
        Error{ErrorCode::kUnavailable, "it has not confirmed the plan in time; see `dslactl plan show`"});
  }
}

void PlanChanges::end_all(const Error& error) {
  for (auto& [request, change] : std::exchange(open_, {})) change.done(error);
}

void PlanChanges::close_if_complete(std::uint64_t request) {
  const auto found = open_.find(request);
  if (found == open_.end() || !found->second.owing.empty()) return;
  Change change = std::move(found->second);
  open_.erase(found);  // before `done`, which may open another
  const std::vector<WorkerPlan>& workers = change.reply.workers;
  const bool refused = std::all_of(workers.begin(), workers.end(),
                                   [](const WorkerPlan& one) { return one.error.has_value(); });
  if (refused && !workers.empty()) {
    change.done(workers.front().error->with_context(workers.front().worker));
  } else {
    change.done(std::move(change.reply));
  }
}

}  // namespace dslad::daemon
