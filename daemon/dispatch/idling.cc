#include "daemon/dispatch/idling.h"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <utility>

#include "daemon/store/reruns.h"
#include "schema/day_window.h"

namespace dslad::daemon {
namespace {

// Local time.
int minute_of_day(std::int64_t wall_ms) {
  const auto seconds = static_cast<std::time_t>(wall_ms / 1'000);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return local.tm_hour * 60 + local.tm_min;
}

bool is_time(const std::string& window, std::int64_t wall_ms) {
  const auto parsed = schema::DayWindow::parse(window);
  return !parsed || parsed->contains(minute_of_day(wall_ms));  // what was set has been validated
}

bool has_rerun(const WorkerState& worker) {
  return std::any_of(worker.jobs.begin(), worker.jobs.end(),
                     [](const auto& entry) { return entry.second.job.rerun; });
}

}  // namespace

using schema::Lease;

Idling::Idling(const Surroundings& around, Planner& planner, OpenLeases& leases)
    : around_(around), planner_(planner), leases_(leases), busy_at_(around.clock.steady_ms()) {}

void Idling::make_room() {
  busy_at_ = around_.clock.steady_ms();
  stop("jobs have come");
}

bool Idling::users_wait() {
  if (planner_.jobs_wait()) return true;
  const std::vector<WorkerState*> workers = around_.table.connected();
  return std::any_of(workers.begin(), workers.end(), [](const WorkerState* worker) {
    return std::any_of(worker->jobs.begin(), worker->jobs.end(),
                       [](const auto& entry) { return !entry.second.job.rerun; });
  });
}

void Idling::follow(bool may) {
  const std::int64_t now_ms = around_.clock.steady_ms();
  if (users_wait()) busy_at_ = now_ms;
  const policy::IdleRules& rules = planner_.settings().idle;
  const bool idle = may && rules.after_ms > 0 && now_ms - busy_at_ >= rules.after_ms &&
                    is_time(rules.window, around_.clock.wall_ms());
  if (!idle) return stop("there is other work, or it is not the time");
  planner_.note_idle(true);
  for (WorkerState* worker : around_.table.connected()) {
    if (worker->claiming > 0 || worker->free_slots() == 0 || has_rerun(*worker)) continue;
    if (worker->reruns_none_at != leases_.ends()) {
      claim_rerun_for(*worker);
    } else if (!worker->idle_told) {
      worker->idle_told = around_.send(worker->peer, schema::IdleWork{true});
    }
  }
}

void Idling::stop(const char* why) {
  planner_.note_idle(false);
  for (WorkerState* worker : around_.table.connected()) {
    if (std::exchange(worker->idle_told, false)) around_.send(worker->peer, schema::IdleWork{false});
    std::vector<Lease> reruns;
    for (const auto& [id, held] : worker->jobs) {
      if (held.job.rerun && !held.storing) reruns.push_back({id, held.attempt});
    }
    for (const Lease& lease : reruns) leases_.take_back(*worker, lease, why);
  }
}

void Idling::claim_rerun_for(WorkerState& worker) {
  worker.claiming = 1;
  Claimant claimant = worker.claimant();
  claimant.plans = planner_.room(worker);
  const Aside<Unreadable> damaged;
  around_.store.post(Work(claim_rerun, claimant, around_.clock.wall_ms(), damaged),
                     [this, damaged, instance = claimant.worker.instance,
                      seen = leases_.ends()](Result<std::optional<Claimed>> claimed) {
                       WorkerState* state = around_.table.by_instance(instance);
                       if (state != nullptr) {
                         state->claiming = 0;
                         if (!claimed || !*claimed) state->reruns_none_at = seen;
                       }
                       if (!claimed && damaged.told()) {
                         leases_.fail_damaged(*damaged);
                       } else if (!claimed) {
                         claims_failed_.warning(
                             fmt::format("cannot give out a rerun: {}", claimed.error().message),
                             around_.clock.steady_ms());
                       } else if (*claimed) {
                         leases_.hand_over(instance, std::move(**claimed));
                         if (!planner_.idle()) stop("jobs have come");  // while it was claimed
                       }
                     });
}

}  // namespace dslad::daemon
