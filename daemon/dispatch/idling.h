// Gives out work that nobody waits for: jobs that are run again on plan 0 (store/reruns.h), and, once there
// are none, leave for workers to distil. Takes it back as soon as a user's job comes. Socket thread only.
#pragma once

#include <cstdint>

#include "daemon/dispatch/open_leases.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/surroundings.h"
#include "daemon/service/limited_warning.h"

namespace dslad::daemon {

class Idling {
 public:
  Idling(const Surroundings& around, Planner& planner, OpenLeases& leases);

  // Begins or ends idle work, by the time and by what there is to do; call several times a second. `may`:
  // jobs are given out at all.
  void follow(bool may);
  // Jobs have come.
  void make_room();

 private:
  // Whether a user's job waits or runs.
  [[nodiscard]] bool users_wait();
  void stop(const char* why);
  void claim_rerun_for(WorkerState& worker);

  const Surroundings around_;
  Planner& planner_;
  OpenLeases& leases_;
  std::int64_t busy_at_;  // steady; when a user's job last waited or ran
  LimitedWarning claims_failed_;
};

}  // namespace dslad::daemon
