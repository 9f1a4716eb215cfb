// Gives queued jobs to workers that have room, as long as the queue's mode lets it, and knows whose turn it
// is. What is left of the workers' room once no user's job waits is Idling's to use, which this part owns:
// whatever a user sends goes first. Socket thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "daemon/dispatch/idling.h"
#include "daemon/dispatch/open_leases.h"
#include "daemon/dispatch/planner.h"
#include "daemon/dispatch/surroundings.h"
#include "daemon/dispatch/turns.h"
#include "daemon/service/limited_warning.h"

namespace dslad::daemon {

// When a client's job that comes now has its turn, after now, and the work that this is reckoned by.
struct Turn {
  std::int64_t delay_ms = 0;
  double work_ms = 0;
};

class Assigner {
 public:
  Assigner(const Surroundings& around, Planner& planner, OpenLeases& leases);

  void restore_turns(const std::map<std::string, std::int64_t>& latest_ms) { turns_.restore(latest_ms); }
  void restore_mode(schema::QueueMode mode) { mode_ = mode; }

  Turn take_turn(const std::string& client, const schema::JobRequest& job);
  // The job was not taken after all: the client is as it was.
  void give_turn_back(const std::string& client, const Turn& turn) { turns_.give_back(client, turn.work_ms); }
  // The clock has jumped, and the turns of all that wait with it.
  void shift_turns(std::int64_t by_ms) { turns_.shift(by_ms); }

  // `done` hears of it once it is stored.
  void set_mode(schema::QueueMode mode, std::function<void(const Status&)> done);
  [[nodiscard]] schema::QueueMode mode() const { return mode_; }

  // Jobs may be waiting.
  void jobs_queued();
  // What is kept for whom has been decided anew.
  void decided();
  // Has claims made for all workers with room.
  void fill();
  // Workers that wait to be alone with a suspect ask anew.
  void ask_anew();
  // Gives out, or ends, work that nobody waits for.
  void follow_idleness() { idling_.follow(assigning_); }
  // From now on no job is given out.
  void stop() { assigning_ = false; }

 private:
  // What a claim was made on: jobs_queued() and decisions, as they are counted.
  struct Seen {
    std::uint64_t queued = 0;
    std::uint64_t decisions = 0;
  };
  void claim_for(WorkerState& worker, std::uint32_t count);
  void claimed(const std::string& instance, Claim claim, const Seen& seen);

  const Surroundings around_;
  Planner& planner_;
  OpenLeases& leases_;
  Idling idling_;
  Turns turns_;
  schema::QueueMode mode_ = schema::QueueMode::kOpen;
  bool assigning_ = true;          // until the daemon stops
  std::uint64_t queued_seen_ = 1;  // counts jobs_queued()
  LimitedWarning claims_failed_;
};

}  // namespace dslad::daemon
