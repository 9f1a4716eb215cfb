// What workers (DEALER) and the daemon (ROUTER) tell each other. One plain struct a message; docs/protocol.md
// is the specification. Messages have no replies except where named; delivery is at least once, so all are
// idempotent.
//
// The order of a connection: hello -> welcome, then assign / heartbeat / result / result_ack. A worker that
// lost the daemon (or was told nothing for `lease_ms`) says hello again with the leases it holds. Absent keys
// take the defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "schema/job.h"
#include "schema/reports.h"

namespace dslad::schema {

// Worker -> daemon.

// First message of a connection, and again after one is lost. -> Welcome, then a CancelLease for each lease
// that is no longer the worker's; or ErrorReply.
struct Hello {
  static constexpr const char* kKind = "hello";
  std::string name;      // host:pid:device; a label for people, which several workers may share
  std::string instance;  // random, new with each process: who the worker is
  std::string device;    // "cpu", "cuda:0"
  std::string model;     // name of the model's folder
  std::string model_digest;
  std::string dtype;
  std::uint32_t layers = 0;
  std::uint32_t context = 0;   // tokens
  std::uint32_t capacity = 1;  // jobs that it can hold, running and waiting; 0: it takes nothing new
  std::uint32_t plan = 0;
  std::uint64_t generation = 0;  // of the change that set the plan; 0: none has
  std::vector<LayerInfo> layer_info;
  std::vector<Lease> leases;  // every job whose result has not been acknowledged
  std::string edition;  // of the model's conversion chain: the digest of its chain.json; empty: no chain
  std::vector<PlanOffer> plans;       // that it can run, ascending; empty: nothing is known of them
  std::uint64_t cache_bytes = 0;      // for KV pages, states and windows together; 0: not known
  std::optional<std::uint32_t> room;  // as in Room; absent: it does not tell what it has begun
  std::string chain_fault;            // what of the chain that lies beside the model is not used, and why

  static void fields(auto& self, auto& field) {
    field("name", self.name);
    field("instance", self.instance);
    field("device", self.device);
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("dtype", self.dtype);
    field("layers", self.layers);
    field("context", self.context);
    field("capacity", self.capacity);
    field("plan", self.plan);
    field("generation", self.generation);
    field("layer_info", self.layer_info);
    field("leases", self.leases);
    field("edition", self.edition);
    field("plans", self.plans);
    field("cache_bytes", self.cache_bytes);
    field("room", self.room);
    field("chain_fault", self.chain_fault);
  }
  [[nodiscard]] Status validate() const;
};

// The worker's conversion chain is another one now, more of it can be used, or one in its place cannot: what
// hello said of it, anew.
struct PlanTable {
  static constexpr const char* kKind = "plans";
  std::string edition;
  std::vector<PlanOffer> plans;
  std::uint32_t plan = 0;  // in force
  std::vector<LayerInfo> layer_info;
  std::string chain_fault;

  static void fields(auto& self, auto& field) {
    field("edition", self.edition);
    field("plans", self.plans);
    field("plan", self.plan);
    field("layer_info", self.layer_info);
    field("chain_fault", self.chain_fault);
  }
  [[nodiscard]] Status validate() const;
};

// Jobs have begun, or there is room for more. A worker is leased what it can begin now and a little more, so
// that whose turn it is, and on which plan, is decided late.
struct Room {
  static constexpr const char* kKind = "room";
  std::vector<Lease> begun;  // since the last; heartbeats tell again: their phase is not `waiting`
  std::uint32_t room = 0;    // jobs that it wants to hold beyond those that have begun

  static void fields(auto& self, auto& field) {
    field("begun", self.begun);
    field("room", self.room);
  }
};

struct LeaseProgress {
  Lease lease;
  Progress progress;

  static void fields(auto& self, auto& field) {
    Lease::fields(self.lease, field);  // their keys lie side by side
    Progress::fields(self.progress, field);
  }
};

// Every heartbeat_ms, from a thread that a long engine step cannot block; extends the leases that it names.
// -> HeartbeatAck.
struct Heartbeat {
  static constexpr const char* kKind = "heartbeat";
  std::vector<LeaseProgress> leases;
  EngineStats engine;
  std::optional<std::uint32_t> room = std::nullopt;  // as in Room

  static void fields(auto& self, auto& field) {
    field("leases", self.leases);
    field("engine", self.engine);
    field("room", self.room);
  }
};

// The end of an attempt. -> ResultAck; kept and sent again after a reconnect until that comes.
// error: invalid_argument, not_found, refused and resource_exhausted fail the job at once (running it again
// cannot help); the others use up an attempt.
struct WorkerResult {
  static constexpr const char* kKind = "result";
  Lease lease;
  std::optional<Error> error;   // absent: it succeeded
  std::vector<Output> outputs;  // one, or one a question
  JobMetrics metrics;           // prefill_ms, decode_ms, tokens, edition, plan, quality
  // With an error that a larger worker would not have: what the job needs at least; 0: not that.
  std::uint32_t needs_context = 0;  // tokens
  std::uint64_t needs_cache_bytes = 0;

  static void fields(auto& self, auto& field) {
    Lease::fields(self.lease, field);
    field("error", self.error);
    field("outputs", self.outputs);
    field("metrics", self.metrics);
    field("needs_context", self.needs_context);
    field("needs_cache_bytes", self.needs_cache_bytes);
  }
  [[nodiscard]] Status validate() const;
};

// Answers SetWorkerPlan, with its `request`.
struct PlanResult {
  static constexpr const char* kKind = "plan_result";
  std::uint64_t request = 0;
  std::optional<Error> error;  // absent: `plan` is now in force for jobs that start
  std::uint32_t plan = 0;
  std::uint64_t generation = 0;  // of the change that set it; above the request's: a newer one came first
  std::vector<LayerChange> changes;
  std::vector<LayerInfo> layer_info;  // after the change

  static void fields(auto& self, auto& field) {
    field("request", self.request);
    field("error", self.error);
    field("plan", self.plan);
    field("generation", self.generation);
    field("changes", self.changes);
    field("layer_info", self.layer_info);
  }
  [[nodiscard]] Status validate() const;
};

// The worker leaves; all its leases return to the queue at once. Without an error none of them counts as a
// failed attempt. With one, its engine has failed: of the jobs that had begun one may have broken it.
struct Goodbye {
  static constexpr const char* kKind = "goodbye";
  std::string reason;
  std::optional<Error> error = std::nullopt;

  static void fields(auto& self, auto& field) {
    field("reason", self.reason);
    field("error", self.error);
  }
  [[nodiscard]] Status validate() const;
};

// Daemon -> worker.

struct Welcome {
  static constexpr const char* kKind = "welcome";
  std::uint32_t lease_ms = 0;      // silence after which the daemon gives the worker's jobs to others
  std::uint32_t heartbeat_ms = 0;  // how often it wants a heartbeat

  static void fields(auto& self, auto& field) {
    field("lease_ms", self.lease_ms);
    field("heartbeat_ms", self.heartbeat_ms);
  }
};

// Answers Heartbeat, so that a worker with nothing to do knows that the daemon is there.
struct HeartbeatAck {
  static constexpr const char* kKind = "heartbeat_ack";
  static void fields(auto&, auto&) {}
};

// May come again, where the daemon does not know whether the first one arrived.
struct Assign {
  static constexpr const char* kKind = "assign";
  Lease lease;
  JobSpec spec;
  // The job's plan. One that the worker cannot run any more: the largest below that it can. Absent: the plan
  // in force.
  std::optional<std::uint32_t> plan = std::nullopt;
  // Of plan 0's quality, what the job's plan must have: where the chain has become another since `plan` was
  // chosen, the largest up to it that has. One that was not measured has it where this is 0.
  double min_quality = 0;

  static void fields(auto& self, auto& field) {
    Lease::fields(self.lease, field);
    JobSpec::fields(self.spec, field);
    field("plan", self.plan);
    field("min_quality", self.min_quality);
  }
  [[nodiscard]] Status validate() const { return spec.validate(); }
};

// The lease is over (cancelled, expired, given to another): stop, and send no result.
struct CancelLease {
  static constexpr const char* kKind = "cancel";
  Lease lease;
  std::string reason;

  static void fields(auto& self, auto& field) {
    Lease::fields(self.lease, field);
    field("reason", self.reason);
  }
};

// -> PlanResult. A worker that has taken a newer generation stays with it, and says so.
struct SetWorkerPlan {
  static constexpr const char* kKind = "set_plan";
  std::uint64_t request = 0;
  std::uint32_t plan = 0;
  bool allow_undistilled = false;
  std::string reason;
  std::uint64_t generation = 0;  // higher with each plan that is set; 0: from a daemon that counts none

  static void fields(auto& self, auto& field) {
    field("request", self.request);
    field("plan", self.plan);
    field("allow_undistilled", self.allow_undistilled);
    field("reason", self.reason);
    field("generation", self.generation);
  }
};

// The result is on disk (accepted) or was of no use (not accepted): the worker may forget it either way.
struct ResultAck {
  static constexpr const char* kKind = "result_ack";
  Lease lease;
  bool accepted = false;

  static void fields(auto& self, auto& field) {
    Lease::fields(self.lease, field);
    field("accepted", self.accepted);
  }
};

// Whether there is time for work that nobody waits for: distilling the chain's next layer. Told when it
// changes, and after each welcome where it is allowed. Jobs may come at any time; they go first.
struct IdleWork {
  static constexpr const char* kKind = "idle_work";
  bool allowed = false;
  static void fields(auto& self, auto& field) { field("allowed", self.allowed); }
};

// The daemon does not know this worker (it restarted, or gave it up): say hello again.
struct WhoAreYou {
  static constexpr const char* kKind = "who_are_you";
  static void fields(auto&, auto&) {}
};

// Finish what you hold, take nothing new, then say goodbye.
struct Drain {
  static constexpr const char* kKind = "drain";
  static void fields(auto&, auto&) {}
};

}  // namespace dslad::schema
