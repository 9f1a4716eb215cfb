// Gives queued jobs to workers and brings their results home. Owns no job: the store says which lease is
// good, this class knows who is connected, when leases end and where frames go.
//
// It is its parts put together, and passes each what concerns it. Who calls whom:
//
//   Expirer            -> Registry, Assigner, OpenLeases
//   Registry           -> Plans, OpenLeases
//   Policing           -> Plans
//   Assigner, Idling   -> OpenLeases     (the Assigner owns Idling)
//   Plans, OpenLeases  -> Planner -> WorkerTable
//
// Against the arrows there are two Listeners: OpenLeases says that a job waits again or that there is room,
// the Planner that it has decided.
//
// Everything runs on the socket thread; time comes from the Clock, frames leave through the Outbox,
// transitions go through the store's Executor and are told to the Feed after their commit.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/dispatch/assigner.h"
#include "daemon/dispatch/durable.h"
#include "daemon/dispatch/expirer.h"
#include "daemon/dispatch/open_leases.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/plans.h"
#include "daemon/dispatch/policing.h"
#include "daemon/dispatch/registry.h"
#include "daemon/dispatch/worker_table.h"

namespace dslad::daemon {

struct DispatchConfig {
  std::uint32_t lease_ms = 15'000;
  std::uint32_t heartbeat_ms = 3'000;
  std::uint32_t plan_timeout_ms = 60'000;
  policy::Settings policy;
  RetryRules retry;
};

class Dispatcher {
 public:
  Dispatcher(const DispatchConfig& config, const Clock& clock, Executor& store, Outbox& workers, Feed& feed);
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // What was so before a restart, as far as it is stored.
  void expect_back(const std::vector<StoredLease>& held) { leases_.expect_back(held); }
  void count_plans_from(std::uint64_t generation) { plans_.count_from(generation); }
  void restore_turns(const std::map<std::string, std::int64_t>& latest_ms) {
    assigner_.restore_turns(latest_ms);
  }
  void restore_mode(schema::QueueMode mode) { assigner_.restore_mode(mode); }
  void restore_policy(const std::map<std::string, std::string>& settings) { policing_.restore(settings); }
  void restore_levels(const std::vector<schema::PolicyChange>& latest) { planner_.restore_levels(latest); }
  void recall_agreements() { planner_.recall_agreements(); }
  // From the next attempt that fails, and the next change of plan, on.
  void reconfigure(const RetryRules& retry, std::uint32_t plan_timeout_ms) {
    leases_.set_retry(retry);
    plans_.set_timeout(plan_timeout_ms);
  }

  // Messages of workers; `peer` is where they came from.
  void on_hello(const std::string& peer, std::uint64_t request_id, const schema::Hello& hello);
  void on_heartbeat(const std::string& peer, const schema::Heartbeat& heartbeat);
  void on_result(const std::string& peer, schema::WorkerResult result);
  void on_plan_result(const std::string& peer, const schema::PlanResult& result) {
    plans_.on_plan_result(peer, result);
  }
  void on_plans(const std::string& peer, schema::PlanTable table);
  void on_room(const std::string& peer, const schema::Room& room);
  void on_goodbye(const std::string& peer, const schema::Goodbye& goodbye) {
    registry_.on_goodbye(peer, goodbye);
  }

  // Jobs may be waiting: after a submit, or at the start.
  void jobs_queued() { assigner_.jobs_queued(); }
  // Jobs were cancelled or have expired: tells their workers, and the feed.
  void jobs_ended(const std::vector<Ended>& ended, schema::JobState state) {
    leases_.jobs_ended(ended, state);
  }
  Turn take_turn(const std::string& client, const schema::JobRequest& job) {
    return assigner_.take_turn(client, job);
  }
  void give_turn_back(const std::string& client, const Turn& turn) { assigner_.give_turn_back(client, turn); }
  // `done` hears of it once it is stored.
  void set_mode(schema::QueueMode mode, std::function<void(const Status&)> done) {
    assigner_.set_mode(mode, std::move(done));
  }
  [[nodiscard]] schema::QueueMode mode() const { return assigner_.mode(); }
  // Asks every connected worker for a plan; `done` hears the outcome. Plans are set by hand from now on.
  void set_plan(const schema::SetPlan& request, PlanDone done) {
    policing_.set_plan(request, std::move(done));
  }
  // `done` hears what is in force, once it is stored.
  void set_policy(const schema::SetPolicy& request, PolicyDone done) {
    policing_.set_policy(request, std::move(done));
  }
  // Ends leases and waits that are over; call several times a second.
  void tick();
  // From now on no job is given out; changes of plan that workers have not confirmed end without.
  void drain();

  [[nodiscard]] Planner& planner() { return planner_; }
  [[nodiscard]] const Planner& planner() const { return planner_; }
  [[nodiscard]] std::vector<schema::WorkerInfo> workers() const {
    return table_.report(around_.clock.steady_ms());
  }
  [[nodiscard]] std::size_t running() const { return table_.jobs(); }  // leases that are open
  [[nodiscard]] schema::PlanReply plans() const { return plans_.report(); }
  // Of a running job; the default where nothing is known.
  [[nodiscard]] schema::Progress progress(schema::JobId job) const;

 private:
  Durable durable_;
  WorkerTable table_;
  const Surroundings around_;
  Planner planner_;
  Plans plans_;
  Policing policing_;
  OpenLeases leases_;
  Assigner assigner_;
  Registry registry_;
  Expirer expirer_;
  std::int64_t next_second_ms_ = 0;  // steady
};

}  // namespace dslad::daemon
