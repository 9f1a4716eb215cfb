// Who is connected: workers that come, say how they are, and leave, in order or not. Has a lease handed over
// again, or ended, where its worker and its record do not agree. Socket thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/dispatch/open_leases.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/plans.h"
#include "daemon/dispatch/surroundings.h"

namespace dslad::daemon {

class Registry {
 public:
  // `welcome`: what workers are told to keep to.
  Registry(const Surroundings& around, Planner& planner, Plans& plans, OpenLeases& leases,
           const schema::Welcome& welcome);

  // The worker that is at `peer`, which was heard now; null where none is known there, and it has been asked
  // who it is.
  WorkerState* heard(const std::string& peer);

  void on_hello(const std::string& peer, std::uint64_t request_id, const schema::Hello& hello);
  void on_heartbeat(WorkerState& worker, const schema::Heartbeat& heartbeat);
  void on_room(WorkerState& worker, const schema::Room& room);
  void on_plans(WorkerState& worker, schema::PlanTable table);
  void on_goodbye(const std::string& peer, const schema::Goodbye& goodbye);

  // Those that were not heard of for the time of a lease have gone.
  void drop_silent();

 private:
  WorkerState& admit(const std::string& peer, const schema::Hello& hello);
  void reconcile_leases(WorkerState& worker, const std::vector<schema::Lease>& held);
  void recall_costs(const WorkerState& worker);
  // `broke`: it did not leave in order, and one of its jobs may be the reason.
  void drop(std::string instance, bool broke, const std::string& why);
  void tell_progress(const schema::LeaseProgress& progress, const WorkerState& worker);
  void tell_worker(const char* topic, const std::string& name, const std::string& reason);

  const Surroundings around_;
  Planner& planner_;
  Plans& plans_;
  OpenLeases& leases_;
  const schema::Welcome welcome_;
};

}  // namespace dslad::daemon
