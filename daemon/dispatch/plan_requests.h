// Requests for a plan that workers have not yet answered. Pure bookkeeping: no I/O, times passed in. Socket
// thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "daemon/store/layers.h"
#include "schema/client_messages.h"
#include "schema/worker_messages.h"

namespace dslad::daemon {

using PlanDone = std::function<void(Result<schema::PlanReply>)>;

// A plan that was asked for. Of two, the one of the higher generation counts.
struct AskedPlan {
  schema::SetPlan plan;
  std::uint64_t generation = 0;
  bool of_everybody = false;  // by an operator; else of one worker, to bring it to what was set before
};

class PlanRequests {
 public:
  // Workers' names by their instances.
  using Names = std::map<std::string, std::string>;

  // Opens a request that these workers shall confirm; gives its number. `done` is called once all have
  // answered, or at the deadline: with what became of it at each worker, or with the first refusal where all
  // refused.
  std::uint64_t open(const AskedPlan& asked, Names workers, std::int64_t deadline_ms, PlanDone done);

  // What was asked, where `instance` still owes an answer to this request.
  std::optional<AskedPlan> asked(std::uint64_t request, const std::string& instance) const;

  // The request of that generation which `instance` has not answered.
  [[nodiscard]] std::optional<std::uint64_t> owed(std::uint64_t generation,
                                                  const std::string& instance) const;

  // What was asked in the open request of the highest generation for everybody.
  [[nodiscard]] std::optional<AskedPlan> newest() const;

  void answered(std::uint64_t request, const std::string& instance, Result<schema::WorkerPlan> answer);
  // It has done what was asked; its answer comes once that is on disk, wherever the worker is by then.
  void confirmed(std::uint64_t request, const std::string& instance);
  void worker_left(const std::string& instance, const std::string& why);
  void tick(std::int64_t now_ms);
  void end_all(const Error& error);

  [[nodiscard]] bool idle() const { return open_.empty(); }

 private:
  struct Open {
    AskedPlan asked;
    Names owing;
    std::set<std::string> confirmed;  // instances among these
    std::int64_t deadline_ms = 0;
    schema::PlanReply reply;
    PlanDone done;
  };
  void close_if_complete(std::uint64_t request);

  std::map<std::uint64_t, Open> open_;
  std::uint64_t last_request_ = 0;
};

}  // namespace dslad::daemon
