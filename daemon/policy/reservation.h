// For whom a job is kept. Jobs are laid out worker by worker, but a claim gives the head of the queue to
// whoever is free: where workers differ in speed or plans, a deadline that is met on one is missed on
// another. So a worker leaves a job to the one on which it was laid out where it would be late here and is in
// time there; and takes it after others where that would make those late that were laid out here. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/policy/schedule.h"

namespace dslad::daemon::policy {

// Whether a worker that is free is to have a job that waits.
enum class Claims : std::uint8_t {
  kTakes,
  kRatherNot,  // only where nothing else waits that it may have
  kLeaves,     // it is another's
};

// Of a job. Workers by their places among decide()'s, times on its axis.
struct Reservation {
  std::size_t worker = 0;  // on which the job is laid out
  // By worker: begun there later, it misses its deadline. Empty: it has none, or misses it all the same, or
  // nothing is known of the speed of its worker.
  std::vector<double> begin_by_ms = {};
  // By worker: begun there later, it makes another miss its deadline that is laid out there behind it.
  // Empty: no other has one.
  std::vector<double> harmless_until_ms = {};

  // Of `other`, which would begin the job at `begins_ms`. It is left no longer than until it would be late on
  // its own worker, too.
  [[nodiscard]] Claims claims(std::size_t other, double begins_ms, double now_ms) const;
};

// Of candidates that are laid out so, in their order. `known`: by worker, whether its speed is.
std::vector<Reservation> reservations(const std::vector<Candidate>& candidates,
                                      const std::vector<Slot>& slots, const std::vector<bool>& known,
                                      std::int64_t now_ms);

}  // namespace dslad::daemon::policy
