// Who decides about plans: a person, or the policy, whose settings are kept here. Has workers asked for what
// was decided. Socket thread only.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/plans.h"
#include "daemon/dispatch/surroundings.h"
#include "schema/policy_messages.h"

namespace dslad::daemon {

using PolicyDone = std::function<void(Result<schema::PolicyReply>)>;

class Policing {
 public:
  Policing(const Surroundings& around, Planner& planner, Plans& plans)
      : around_(around), planner_(planner), plans_(plans) {}

  // Settings that were made before a restart.
  void restore(const std::map<std::string, std::string>& settings);
  // `done` hears what is in force, once it is stored.
  void set_policy(const schema::SetPolicy& request, PolicyDone done);
  // Asks every connected worker for a plan; `done` hears the outcome. Plans are set by hand from now on.
  void set_plan(const schema::SetPlan& request, PlanDone done);
  // The policy takes another plan: records that, and has workers follow.
  void on_change(const schema::PolicyChange& change);
  // Brings workers to the policy's plan.
  void follow();

 private:
  void take_by_hand();

  const Surroundings around_;
  Planner& planner_;
  Plans& plans_;
};

}  // namespace dslad::daemon
