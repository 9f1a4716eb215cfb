// What the time alone ends or begins: workers that fell silent, leases that nobody renewed, jobs past their
// deadlines, delayed jobs whose time has come; and what follows where time itself jumped or stood still.
// Socket thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "daemon/dispatch/assigner.h"
#include "daemon/dispatch/open_leases.h"
#include "daemon/dispatch/registry.h"
#include "daemon/dispatch/surroundings.h"

namespace dslad::daemon {

class Expirer {
 public:
  Expirer(const Surroundings& around, Registry& registry, OpenLeases& leases, Assigner& assigner)
      : around_(around), registry_(registry), leases_(leases), assigner_(assigner) {}

  // Workers and their leases. Call at least twice a second: more than a second later, the daemon stood still.
  void tick();
  // Jobs that wait or run, whose times are in the database. Call every second.
  void look_at_jobs();

  struct NextDue {
    std::optional<std::int64_t> at_ms;  // wall clock; nothing: no job has a time
    std::int64_t rows_changed = -1;     // Executor's, when that was so
  };

 private:
  void follow_wall_clock();

  const Surroundings around_;
  Registry& registry_;
  OpenLeases& leases_;
  Assigner& assigner_;
  std::optional<std::int64_t> wall_offset_ms_;  // of the wall clock from the steady one
  std::int64_t last_tick_ms_ = 0;               // steady
  NextDue next_;
};

}  // namespace dslad::daemon
