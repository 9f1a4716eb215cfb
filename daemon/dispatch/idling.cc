// The part of Dispatcher that gives out work nobody waits for: jobs that are run again on plan 0, and, once
// there are none, leave for workers to distil. Whatever a user sends goes first.
#include <ctime>
#include <fmt/format.h>
#include <memory>
#include <utility>

#include "daemon/dispatch/dispatcher.h"
#include "daemon/store/reruns.h"
#include "schema/day_window.h"
#include "schema/process/log.h"

namespace dslad::daemon {
namespace {

constexpr std::uint32_t kLatestCompared = 20;  // jobs of a plan

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

bool Dispatcher::users_wait() {
  if (planner_.jobs_wait()) return true;
  const std::vector<WorkerState*> workers = table_.connected();
  return std::any_of(workers.begin(), workers.end(), [](const WorkerState* worker) {
    return std::any_of(worker->jobs.begin(), worker->jobs.end(),
                       [](const auto& entry) { return !entry.second.job.rerun; });
  });
}

void Dispatcher::follow_idleness() {
  const std::int64_t now_ms = clock_.steady_ms();
  if (users_wait()) busy_at_ = now_ms;
  const policy::IdleRules& rules = planner_.settings().idle;
  const bool idle = assigning_ && rules.after_ms > 0 && now_ms - busy_at_ >= rules.after_ms &&
                    is_time(rules.window, clock_.wall_ms());
  if (!idle) return stop_idle_work("there is other work, or it is not the time");
  planner_.note_idle(true);
  for (WorkerState* worker : table_.connected()) {
    if (worker->claiming > 0 || worker->free_slots() == 0 || has_rerun(*worker)) continue;
    if (worker->reruns_none_at != reruns_seen_) {
      claim_rerun_for(*worker);
    } else if (!worker->idle_told) {
      worker->idle_told = send(worker->peer, schema::IdleWork{true});
    }
  }
}

void Dispatcher::stop_idle_work(const char* why) {
  planner_.note_idle(false);
  for (WorkerState* worker : table_.connected()) {
    if (std::exchange(worker->idle_told, false)) send(worker->peer, schema::IdleWork{false});
    std::vector<Lease> reruns;
    for (const auto& [id, held] : worker->jobs) {
      if (held.job.rerun && !held.storing) reruns.push_back({id, held.attempt});
    }
    for (const Lease& lease : reruns) {
      worker->jobs.erase(lease.job);
      send(worker->peer, schema::Revoke{lease, why});
      end_lease(lease, LeaseEnd::kGivenBack, why);
    }
  }
}

void Dispatcher::claim_rerun_for(WorkerState& worker) {
  worker.claiming = 1;
  const Claimant claimant = claimant_of(worker);
  const std::int64_t now_ms = clock_.wall_ms();
  const auto damaged = std::make_shared<std::optional<Unreadable>>();
  store_.post<std::optional<Claimed>>(
      [claimant, now_ms, damaged](Database& db) { return claim_rerun(db, claimant, now_ms, damaged.get()); },
      [this, damaged, instance = claimant.worker.instance,
       seen = reruns_seen_](Result<std::optional<Claimed>> claimed) {
        WorkerState* state = table_.by_instance(instance);
        if (state != nullptr) {
          state->claiming = 0;
          if (!claimed || !*claimed) state->reruns_none_at = seen;
        }
        if (!claimed && *damaged) {
          fail_damaged(**damaged);
        } else if (!claimed) {
          claims_failed_.warning(fmt::format("cannot give out a rerun: {}", claimed.error().message),
                                 clock_.steady_ms());
        } else if (*claimed) {
          assign(instance, {std::move(**claimed)});
          if (!planner_.idle()) stop_idle_work("jobs have come");  // while it was claimed
        }
      });
}

void Dispatcher::recall_agreements() {
  store_.post<std::vector<schema::PlanAgreement>>(
      [](Database& db) { return plan_agreements(db, kLatestCompared); },
      [this](Result<std::vector<schema::PlanAgreement>> agreements) {
        if (agreements) planner_.use_agreements(std::move(agreements).value());  // else the next rerun's end
      });
}

}  // namespace dslad::daemon
