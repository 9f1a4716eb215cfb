// Gives queued jobs to workers and brings their results home. Owns no job: the store says which lease is
// good, this class knows who is connected, when leases end and where frames go.
//
// Everything runs on the socket thread; time comes from the Clock, frames leave through the Outbox,
// transitions go through the store's Executor and are told to the Feed after their commit. Reruns
// (store/reruns.h) are nobody's news: the Feed hears nothing of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/clock.h"
#include "daemon/dispatch/durable.h"
#include "daemon/dispatch/plan_changes.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/turns.h"
#include "daemon/dispatch/worker_table.h"
#include "daemon/outbox.h"
#include "daemon/service/feed.h"
#include "daemon/service/limited_warning.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/layers.h"
#include "daemon/store/leases.h"
#include "schema/codec.h"

namespace dslad::daemon {

struct DispatchConfig {
  std::uint32_t lease_ms = 15'000;
  std::uint32_t heartbeat_ms = 3'000;
  std::uint32_t plan_timeout_ms = 60'000;
  policy::Settings policy;
  RetryRules retry;
};

using PolicyDone = std::function<void(Result<schema::PolicyReply>)>;

class Dispatcher {
 public:
  Dispatcher(const DispatchConfig& config, const Clock& clock, Executor& store, Outbox& workers, Feed& feed);

  // Leases from before a restart: their workers have one lease_ms to come back and keep them.
  void expect_back(const std::vector<HeldLease>& held);
  // Plans that are set from now on have generations above this one.
  void count_plans_from(std::uint64_t generation) { generation_ = std::max(generation_, generation); }

  void restore_turns(const std::map<std::string, std::int64_t>& latest_ms) { turns_.restore(latest_ms); }
  void restore_mode(schema::QueueMode mode) { mode_ = mode; }

  // Messages of workers; `peer` is where they came from.
  void on_hello(const std::string& peer, std::uint64_t request_id, schema::Hello hello);
  void on_heartbeat(const std::string& peer, const schema::Heartbeat& heartbeat);
  void on_result(const std::string& peer, schema::WorkerResult result);
  void on_plan_result(const std::string& peer, const schema::PlanResult& result);
  void on_plans(const std::string& peer, schema::PlanTable table);
  void on_room(const std::string& peer, const schema::Room& room);
  void on_goodbye(const std::string& peer, const schema::Goodbye& goodbye);

  // Jobs may be waiting: after a submit, or at the start.
  void jobs_queued();
  // When a client's job that comes now has its turn, after now, and the work that this is reckoned by.
  struct Turn {
    std::int64_t delay_ms = 0;
    double work_ms = 0;
  };
  Turn take_turn(const std::string& client, const schema::JobRequest& job);
  // The job was not taken after all: the client is as it was.
  void give_turn_back(const std::string& client, const Turn& turn) { turns_.give_back(client, turn.work_ms); }
  // `done` hears of it once it is stored.
  void set_mode(schema::QueueMode mode, std::function<void(const Status&)> done);
  [[nodiscard]] schema::QueueMode mode() const { return mode_; }
  // Jobs were cancelled or have expired: tells their workers, and the feed.
  void jobs_ended(const std::vector<Ended>& ended, schema::JobState state);
  // Asks every connected worker for a plan; `done` hears the outcome. Plans are set by hand from now on.
  void set_plan(const schema::SetPlan& request, PlanDone done);
  // How far plans agreed with plan 0, as far as it is stored.
  void recall_agreements();
  // Settings of the policy that were made before a restart.
  void restore_policy(const std::map<std::string, std::string>& settings);
  // From the next attempt that fails, and the next change of plan, on.
  void reconfigure(const RetryRules& retry, std::uint32_t plan_timeout_ms) {
    config_.retry = retry;
    config_.plan_timeout_ms = plan_timeout_ms;
  }
  // `done` hears what is in force, once it is stored.
  void set_policy(const schema::SetPolicy& request, PolicyDone done);
  [[nodiscard]] Planner& planner() { return planner_; }
  [[nodiscard]] const Planner& planner() const { return planner_; }
  // Ends leases and waits that are over; call several times a second.
  void tick();
  // From now on no job is given out; changes of plan that workers have not confirmed end without.
  void drain();

  [[nodiscard]] std::vector<schema::WorkerInfo> workers() const { return table_.report(clock_.steady_ms()); }
  [[nodiscard]] std::size_t running() const { return table_.jobs(); }  // leases that are open
  [[nodiscard]] schema::PlanReply plans();
  // Of a running job; the default where nothing is known.
  [[nodiscard]] schema::Progress progress(schema::JobId job) const;

 private:
  template <typename Message>
  bool send(const std::string& peer, const Message& message, std::uint64_t id = 0) {
    return workers_.send(peer, schema::encode(message, id));
  }
  [[nodiscard]] std::int64_t lease_end() const { return clock_.steady_ms() + config_.lease_ms; }

  WorkerState& admit(const std::string& peer, const schema::Hello& hello);
  void reconcile_leases(WorkerState& worker, const std::vector<schema::Lease>& held);
  void announce(WorkerState& worker);
  void recall_costs(const WorkerState& worker);
  void bring_to_latest(const std::optional<WantedPlan>& stored, const std::string& instance);
  void bring_to(const AskedPlan& asked, const std::string& instance,
                const std::optional<WantedPlan>& otherwise);
  // `broke`: it did not leave in order, and one of the jobs that it had begun may be the reason.
  void drop_worker(std::string instance, bool broke, const std::string& why);
  [[nodiscard]] static LeaseEnd blame(const WorkerState& worker, const HeldJob& job);

  void fill_all();
  [[nodiscard]] static Claimant claimant_of(const WorkerState& worker);
  void claim_for(WorkerState& worker, std::uint32_t count);
  void claimed(const std::string& instance, Claim claim, std::uint64_t seen);
  void assign(const std::string& instance, std::vector<Claimed> claimed);
  void assign_again(const schema::Lease& lease, const std::string& instance);
  void finished(const schema::Lease& lease, const std::string& instance, Result<Outcome> outcome);
  // Whether another worker that is connected could run what was too large for this one.
  [[nodiscard]] bool fits_elsewhere(const schema::WorkerResult& result, const WorkerState& worker);
  void end_lease(const schema::Lease& lease, LeaseEnd end, const std::string& why);
  void ask_plan(std::uint64_t request, const AskedPlan& asked, const WorkerState& worker);
  void take_by_hand();
  void policy_changed(const schema::PolicyChange& change);
  void follow_policy();
  void plan_saved(const PlanChange& change, const schema::WorkerPlan& plan, const Status& saved);
  // Whether a user's job waits or runs.
  [[nodiscard]] bool users_wait();
  void follow_idleness();
  void stop_idle_work(const char* why);
  void claim_rerun_for(WorkerState& worker);
  void fail_damaged(const Unreadable& damaged);
  void follow_wall_clock();
  void follow_time();
  void tell_running(const schema::Lease& lease, const WorkerState& worker);
  void tell_progress(const schema::LeaseProgress& progress, const WorkerState& worker);
  void tell_worker(const char* topic, const std::string& name, const std::string& reason);

  DispatchConfig config_;
  const Clock& clock_;
  Executor& store_;
  Outbox& workers_;
  Feed& feed_;
  Durable durable_;
  WorkerTable table_;
  PlanChanges plan_changes_;
  Planner planner_;
  std::uint64_t generation_ = 0;  // of the plan that was asked for last
  Turns turns_;
  bool assigning_ = true;  // until the daemon stops
  schema::QueueMode mode_ = schema::QueueMode::kOpen;
  std::uint64_t queued_seen_ = 1;               // counts jobs_queued()
  std::uint64_t reruns_seen_ = 1;               // counts what may have made another rerun wanted
  std::int64_t busy_at_ = 0;                    // steady; when a user's job last waited or ran
  std::optional<std::int64_t> wall_offset_ms_;  // of the wall clock from the steady one
  std::int64_t last_tick_ms_ = 0;               // steady, as is the next
  std::int64_t next_second_ms_ = 0;
  LimitedWarning claims_failed_;
};

}  // namespace dslad::daemon
