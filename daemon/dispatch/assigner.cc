#include "daemon/dispatch/assigner.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/process/log.h"
#include "daemon/store/settings.h"

namespace dslad::daemon {
namespace {

constexpr std::uint32_t kMaxClaim = 64;  // bounds what one claim holds in memory

}  // namespace

Assigner::Assigner(const Surroundings& around, Planner& planner, OpenLeases& leases)
    : around_(around), planner_(planner), leases_(leases), idling_(around, planner, leases) {}

Turn Assigner::take_turn(const std::string& client, const schema::JobRequest& job) {
  if (job.terms.deadline_in_ms > 0) return {};
  const std::int64_t now_ms = around_.clock.wall_ms();
  const double work_ms = planner_.work_ms(job);
  return {turns_.next(client, work_ms, now_ms) - now_ms, work_ms};
}

void Assigner::set_mode(schema::QueueMode mode, std::function<void(const Status&)> done) {
  const std::map<std::string, std::string> stored = {
      {std::string(kQueueModeSetting), std::string(schema::to_string(mode))}};
  around_.store.post(Work(save_settings, stored), [this, mode, done = std::move(done)](const Status& saved) {
    if (saved && mode_ != mode) {
      process::log_info(fmt::format("the queue is {} now", schema::to_string(mode)));
      mode_ = mode;
      jobs_queued();
    }
    done(saved);
  });
}

void Assigner::jobs_queued() {
  ++queued_seen_;
  idling_.make_room();
  planner_.look_again();
  fill();
}

void Assigner::decided() {
  for (WorkerState* worker : around_.table.connected()) {
    if (std::exchange(worker->left_some, false)) worker->emptied_at = 0;
  }
  fill();
}

// One claim a worker is under way at a time. Alone, a worker is filled in one go; among others, each takes
// one job after the other, so that a short queue spreads over all of them.
void Assigner::fill() {
  if (!assigning_ || mode_ == schema::QueueMode::kPaused || planner_.deciding()) return;
  const std::vector<WorkerState*> workers = around_.table.connected();
  for (WorkerState* worker : workers) {
    const std::uint32_t free = worker->free_slots();
    if (free == 0 || worker->claiming > 0 || worker->emptied_at == queued_seen_) continue;
    claim_for(*worker, workers.size() == 1 ? std::min(free, kMaxClaim) : 1);
  }
}

void Assigner::claim_for(WorkerState& worker, std::uint32_t count) {
  worker.claiming = count;
  Claimant claimant = worker.claimant();
  claimant.plans = planner_.room(worker);
  const Aside<Unreadable> damaged;
  around_.store.post(Work(claim, claimant, count, around_.clock.wall_ms(), planner_.chooser(worker), damaged),
                     [this, damaged, instance = claimant.worker.instance,
                      seen = Seen{queued_seen_, planner_.decisions()}](Result<Claim> claim) {
                       if (WorkerState* state = around_.table.by_instance(instance); state != nullptr)
                         state->claiming = 0;
                       if (claim) return claimed(instance, std::move(claim).value(), seen);
                       if (damaged.told()) return leases_.fail_damaged(*damaged);
                       // Nothing was leased; the next second tries again.
                       claims_failed_.warning(fmt::format("cannot give out jobs: {}", claim.error().message),
                                              around_.clock.steady_ms());
                     });
}

void Assigner::claimed(const std::string& instance, Claim claim, const Seen& seen) {
  leases_.unreadable(claim.unreadable);
  if (WorkerState* state = around_.table.by_instance(instance); state != nullptr) {
    state->left_some = claim.left_some;
    const bool decided_since = claim.left_some && planner_.decisions() != seen.decisions;
    if (claim.queue_empty && !decided_since) state->emptied_at = seen.queued;
    state->waits_to_be_alone = claim.suspect_waits;
  }
  for (Claimed& one : claim.jobs) {
    const bool by_turn = !one.job.deadline_ms;
    const std::int64_t turn_ms = one.job.due_ms - due_ms(0, 0);
    if (leases_.hand_over(instance, std::move(one)) && by_turn) turns_.served(turn_ms);
  }
  fill();
}

void Assigner::ask_anew() {
  for (WorkerState* worker : around_.table.connected()) worker->waits_to_be_alone = false;
}

}  // namespace dslad::daemon
