#include "daemon/dispatch/plan_requests.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace dslad::daemon {

using schema::WorkerPlan;

std::uint64_t PlanRequests::open(const AskedPlan& asked, Names workers, std::int64_t deadline_ms,
                                 PlanDone done) {
  const std::uint64_t request = ++last_request_;
  open_[request] = {asked, std::move(workers), {}, deadline_ms, {}, std::move(done)};
  return request;
}

std::optional<AskedPlan> PlanRequests::asked(std::uint64_t request, const std::string& instance) const {
  const auto found = open_.find(request);
  if (found == open_.end() || !found->second.owing.contains(instance)) return std::nullopt;
  return found->second.asked;
}

std::optional<std::uint64_t> PlanRequests::owed(std::uint64_t generation, const std::string& instance) const {
  for (const auto& [request, one] : open_) {
    const bool owes = one.owing.contains(instance) && !one.confirmed.contains(instance);
    if (one.asked.generation == generation && owes) return request;
  }
  return std::nullopt;
}

std::optional<AskedPlan> PlanRequests::newest() const {
  std::optional<AskedPlan> newest;
  for (const auto& [request, one] : open_) {
    if (!one.asked.of_everybody) continue;
    if (!newest || one.asked.generation > newest->generation) newest = one.asked;
  }
  return newest;
}

void PlanRequests::answered(std::uint64_t request, const std::string& instance, Result<WorkerPlan> answer) {
  const auto found = open_.find(request);
  if (found == open_.end()) return;
  Open& one = found->second;
  const auto owing = one.owing.extract(instance);
  if (owing.empty()) return;
  if (answer) {
    one.reply.workers.push_back(std::move(answer).value());
  } else {
    WorkerPlan& refusal = one.reply.workers.emplace_back();
    refusal.worker = owing.mapped();
    refusal.error = answer.error();
  }
  close_if_complete(request);
}

void PlanRequests::confirmed(std::uint64_t request, const std::string& instance) {
  const auto found = open_.find(request);
  if (found != open_.end() && found->second.owing.contains(instance))
    found->second.confirmed.insert(instance);
}

void PlanRequests::worker_left(const std::string& instance, const std::string& why) {
  std::vector<std::uint64_t> requests;
  for (const auto& [request, one] : open_) {
    if (!one.confirmed.contains(instance)) requests.push_back(request);
  }
  for (const std::uint64_t request : requests) {
    answered(request, instance,
             Error{ErrorCode::kUnavailable,
                   fmt::format("it left before it confirmed the plan ({}); ask again", why)});
  }
}

void PlanRequests::tick(std::int64_t now_ms) {
  std::vector<std::pair<std::uint64_t, std::string>> late;
  for (const auto& [request, one] : open_) {
    if (one.deadline_ms > now_ms) continue;
    for (const auto& [instance, name] : one.owing) late.emplace_back(request, instance);
  }
  for (const auto& [request, instance] : late) {
    answered(
        request, instance,
        Error{ErrorCode::kUnavailable, "it has not confirmed the plan in time; see `dslactl plan show`"});
  }
}

void PlanRequests::end_all(const Error& error) {
  for (auto& [request, one] : std::exchange(open_, {})) one.done(error);
}

void PlanRequests::close_if_complete(std::uint64_t request) {
  const auto found = open_.find(request);
  if (found == open_.end() || !found->second.owing.empty()) return;
  Open closed = std::move(found->second);
  open_.erase(found);  // before `done`, which may open another
  const std::vector<WorkerPlan>& workers = closed.reply.workers;
  const bool refused = std::all_of(workers.begin(), workers.end(),
                                   [](const WorkerPlan& one) { return one.error.has_value(); });
  if (refused && !workers.empty()) {
    closed.done(workers.front().error->with_context(workers.front().worker));
  } else {
    closed.done(std::move(closed.reply));
  }
}

}  // namespace dslad::daemon
