// Asks workers for plans and hears what became of it. One that joins is brought to what was asked last. Which
// plan is asked for is decided elsewhere. Socket thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/dispatch/plan_requests.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/surroundings.h"
#include "daemon/store/layers.h"

namespace dslad::daemon {

class Plans {
 public:
  Plans(const Surroundings& around, Planner& planner, std::uint32_t timeout_ms)
      : around_(around), planner_(planner), timeout_ms_(timeout_ms) {}

  // Plans that are asked for from now on have generations above this one.
  void count_from(std::uint64_t generation) { generation_ = std::max(generation_, generation); }
  // Of the next change on.
  void set_timeout(std::uint32_t timeout_ms) { timeout_ms_ = timeout_ms; }

  // Asks these workers; `done` hears the outcome. `of_everybody`: workers that join meanwhile are asked, too.
  void ask(const schema::SetPlan& plan, bool of_everybody, const std::vector<WorkerState*>& workers,
           PlanDone done);
  void on_plan_result(const std::string& peer, const schema::PlanResult& result);
  // Records what the worker says of its model and brings it to the latest plan.
  void announce(WorkerState& worker);
  // The same of all, where something else is known of their plans.
  void announce_all();
  void worker_left(const std::string& instance, const std::string& why);
  // Ends changes that take too long; call several times a second.
  void tick() { requests_.tick(around_.clock.steady_ms()); }
  // The daemon stops: changes that workers have not confirmed end without.
  void drain();
  [[nodiscard]] bool draining() const { return draining_; }

  [[nodiscard]] schema::PlanReply report() const;

 private:
  void open(const AskedPlan& asked, const std::vector<WorkerState*>& workers, PlanDone done);
  void send_change(std::uint64_t request, const AskedPlan& asked, const WorkerState& worker);
  void bring_to_latest(const std::optional<WantedPlan>& stored, const std::string& instance);
  void bring_to(const AskedPlan& asked, const std::string& instance,
                const std::optional<WantedPlan>& otherwise);
  void saved(const PlanChange& change, const schema::WorkerPlan& plan, const Status& status);

  const Surroundings around_;
  Planner& planner_;
  std::uint32_t timeout_ms_;
  PlanRequests requests_;
  std::uint64_t generation_ = 0;  // of the plan that was asked for last
  bool draining_ = false;
};

}  // namespace dslad::daemon
