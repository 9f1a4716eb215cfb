// The worker's connection to the daemon, on a thread of its own.
//
// The thread owns the socket and sends heartbeats on time however long an engine step takes, so that a busy
// worker never looks dead. It knows every lease the worker holds and every result that the daemon has not
// acknowledged; after a lost connection it says hello with the former and sends the latter again. Thread
// safety: all members may be called from any thread; take() from one.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "schema/keys/client_keys.h"
#include "schema/worker_messages.h"

namespace dslad::worker {

// What the daemon wants.
using Order =
    std::variant<schema::Assign, schema::CancelLease, schema::SetWorkerPlan, schema::Drain, schema::IdleWork>;

class DaemonLink {
 public:
  // Connects to `url` in the background and introduces itself with `hello` (its leases are filled in by the
  // link). `keys`: for a daemon on tcp. Errors: kInvalidArgument for a URL that ZeroMQ cannot use.
  static Result<std::unique_ptr<DaemonLink>> open(const std::string& url, schema::Hello hello,
                                                  std::optional<keys::ClientKeys> keys = std::nullopt);
  // Says nothing: leases of a link that just ends run out. See leave().
  ~DaemonLink();

  // The next order; waits up to `patience` for one, or until it is roused.
  std::optional<Order> take(std::chrono::milliseconds patience);
  // Ends a take() that waits, or the next one: its thread has something else to do. At any time, after
  // leave() too.
  void rouse();

  void report_progress(const schema::Lease& lease, const schema::Progress& progress);
  void report_stats(const schema::EngineStats& stats);
  // Tells, now and in every later hello and heartbeat, how much room there is; and once which leases have
  // begun.
  void report_room(schema::Room room);
  // Ends a lease; the result is kept until acknowledged. Dropped when the lease has been revoked meanwhile;
  // too large for a frame of the protocol, it becomes the error that says so.
  void finish(schema::WorkerResult result);
  void answer(const schema::PlanResult& result);
  // Tells, now and in every later hello, what the plans are.
  void report_plans(const schema::PlanTable& table);
  // Says hello again, to take nothing new.
  void take_nothing_new();
  // Gives a lease back that was assigned all the same.
  void decline(const schema::Lease& lease);

  [[nodiscard]] bool welcomed() const;               // the daemon has answered the last hello
  [[nodiscard]] std::size_t unacknowledged() const;  // results that the daemon may not have yet

  // Gives all leases back and ends the thread; `error`: the engine has failed, perhaps by one of the jobs
  // that had begun. REQUIRES: the last call on this link.
  void leave(const std::string& reason, const std::optional<Error>& error = std::nullopt);

 private:
  struct State;
  class Loop;
  explicit DaemonLink(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace dslad::worker
