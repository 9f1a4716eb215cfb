// The workers that the daemon knows, connected or expected back, and the leases that each holds. Pure
// bookkeeping: no I/O, times passed in (steady milliseconds). Socket thread only.
//
// A worker is its instance. Names are labels: in containers several workers may have the same one.
// Invariant: a job is leased to at most one worker of the table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/dispatch/known_documents.h"
#include "daemon/store/leases.h"
#include "daemon/store/queued_jobs.h"
#include "schema/client_messages.h"
#include "schema/worker_messages.h"

namespace dslad::daemon {

struct HeldJob {
  std::uint32_t attempt = 0;
  std::int64_t deadline_ms = 0;  // the lease ends unless a heartbeat names it before
  schema::Progress progress;
  bool storing = false;                    // its result is on its way to the disk
  bool begun = false;                      // the worker works on it; before that it waits there
  std::optional<std::uint32_t> plan = {};  // that it was given; absent: the one in force
  double min_quality = 0;                  // what its plan must have
  QueuedJob job = {};  // as it was when it was leased; empty where the lease is from before a restart
};

struct WorkerState {
  std::string peer;     // on the workers' socket; empty: not connected, expected back
  schema::Hello hello;  // as announced last; its leases are not kept here
  schema::EngineStats engine;
  std::map<schema::JobId, HeldJob> jobs;
  KnownDocuments documents;
  std::uint32_t claiming = 0;    // jobs asked of the store for it, not yet assigned
  std::uint64_t emptied_at = 0;  // the assigner's count of queued jobs when it last found none for it
  bool left_some = false;  // and jobs waited then that are kept for others: the next decision may differ
  std::optional<std::uint32_t> asked_plan = {};  // by the policy, last
  bool announcing = false;                       // what it says of its model is on its way to the disk
  bool announced_more = false;                   // and it has said something else meanwhile
  std::uint64_t reruns_none_at = 0;              // OpenLeases::ends() when the store last had no rerun for it
  bool idle_told = false;                        // that there is time for work that nobody waits for
  std::string fault;                             // why its latest plan failed, until that is recorded
  bool waits_to_be_alone =
      false;  // the next job runs with no other beside it: it takes none until it has none
  std::int64_t last_seen_ms = 0;

  [[nodiscard]] bool connected() const { return !peer.empty(); }
  // Jobs that it wants now: what it has room for beyond what it has begun, within its capacity.
  [[nodiscard]] std::uint32_t free_slots() const;
  [[nodiscard]] std::uint32_t begun() const;  // of its jobs
  [[nodiscard]] bool holds(const schema::Lease& lease) const;
  [[nodiscard]] Claimant claimant() const;
};

class WorkerTable {
 public:
  // nullptr where there is none.
  WorkerState* by_peer(const std::string& peer);
  WorkerState* by_instance(const std::string& instance);
  WorkerState* by_job(schema::JobId job);
  const WorkerState* by_job(schema::JobId job) const;

  // The instance's state, new or as it was.
  WorkerState& add(const std::string& instance);

  // Takes the worker out of the table.
  WorkerState remove(const std::string& instance);

  // Instances unheard of since `before_ms`.
  std::vector<std::string> silent_since(std::int64_t before_ms) const;

  // Takes out the leases whose deadline has passed.
  std::vector<schema::Lease> take_expired(std::int64_t now_ms);

  // Gives every lease and worker this much more time.
  void extend_all(std::int64_t by_ms);

  [[nodiscard]] std::vector<WorkerState*> connected();  // the idlest first
  [[nodiscard]] std::size_t jobs() const;               // held by all of them
  [[nodiscard]] std::size_t not_begun() const;          // of users, that wait at their workers
  [[nodiscard]] std::vector<schema::WorkerInfo> report(std::int64_t now_ms) const;

 private:
  std::map<std::string, WorkerState> workers_;  // by instance
};

}  // namespace dslad::daemon
