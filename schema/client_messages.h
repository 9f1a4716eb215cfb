// What clients ask the daemon over the jobs socket, and what it answers. One plain struct a message;
// docs/protocol.md is the specification. Requests first, then replies. Every request gets exactly one reply
// that repeats its envelope's id: the typed reply named beside the request, or `ErrorReply`.
//
// Times are milliseconds since the Unix epoch. Absent keys take the defaults written here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "schema/job.h"
#include "schema/reports.h"
#include "schema/result.h"

namespace dslad::schema {

// One job of a submit.
struct JobRequest {
  JobSpec spec;
  std::int32_t priority = 0;        // higher runs first; ties by arrival
  std::uint32_t max_attempts = 0;   // leases that may end without a result; 0: the daemon's default
  std::string idempotency_key;      // a repeated key returns the first job instead of a new one
  std::string custom_id;            // the client's own name for the job; need not be unique
  std::uint64_t expires_in_ms = 0;  // ends as `expired` unless it has ended by then; 0: never

  static void fields(auto& self, auto& field) {
    JobSpec::fields(self.spec, field);  // its keys lie beside the others
    field("priority", self.priority);
    field("max_attempts", self.max_attempts);
    field("idempotency_key", self.idempotency_key);
    field("custom_id", self.custom_id);
    field("expires_in_ms", self.expires_in_ms);
  }
  [[nodiscard]] Status validate() const;
};

// -> Submitted, once every job of the batch is on disk. All jobs of a batch are taken, or none is.
struct Submit {
  static constexpr const char* kKind = "submit";
  std::vector<JobRequest> jobs;

  static void fields(auto& self, auto& field) { field("jobs", self.jobs); }
  [[nodiscard]] Status validate() const;
};

// -> DaemonStatus
struct GetStatus {
  static constexpr const char* kKind = "status";
  static void fields(auto&, auto&) {}
};

// -> JobList, newest first.
struct ListJobs {
  static constexpr const char* kKind = "list";
  std::optional<JobState> state;  // only jobs in this state
  std::uint32_t limit = 100;
  JobId before_id = 0;  // only jobs with a smaller id: the next page; 0: from the newest

  static void fields(auto& self, auto& field) {
    field("state", self.state);
    field("limit", self.limit);
    field("before_id", self.before_id);
  }
  [[nodiscard]] Status validate() const;
};

// -> JobInfo, or not_found.
struct GetJob {
  static constexpr const char* kKind = "job";
  JobId id = 0;
  static void fields(auto& self, auto& field) { field("id", self.id); }
};

// -> JobResult, in whatever state the job is; or not_found.
struct GetResult {
  static constexpr const char* kKind = "result";
  JobId id = 0;
  static void fields(auto& self, auto& field) { field("id", self.id); }
};

// -> WaitReply, as soon as all named jobs have ended or the timeout has passed; or not_found.
struct Wait {
  static constexpr const char* kKind = "wait";
  std::vector<JobId> ids;
  std::uint32_t timeout_ms = 30'000;

  static void fields(auto& self, auto& field) {
    field("ids", self.ids);
    field("timeout_ms", self.timeout_ms);
  }
  [[nodiscard]] Status validate() const;
};

// -> CancelReply. Jobs that have ended stay as they are.
struct Cancel {
  static constexpr const char* kKind = "cancel";
  std::vector<JobId> ids;
  static void fields(auto& self, auto& field) { field("ids", self.ids); }
  [[nodiscard]] Status validate() const;
};

// -> LayersReply
struct GetLayers {
  static constexpr const char* kKind = "layers";
  static void fields(auto&, auto&) {}
};

// -> PlanReply
struct ShowPlan {
  static constexpr const char* kKind = "plan_show";
  static void fields(auto&, auto&) {}
};

// -> PlanReply once every connected worker has confirmed; unavailable without workers; refused where one
// refuses.
struct SetPlan {
  static constexpr const char* kKind = "plan_set";
  std::uint32_t plan = 0;          // layers of the conversion order that run DSLA
  bool allow_undistilled = false;  // for tests: take layers without distilled weights
  std::string reason;              // recorded with each change

  static void fields(auto& self, auto& field) {
    field("plan", self.plan);
    field("allow_undistilled", self.allow_undistilled);
    field("reason", self.reason);
  }
  [[nodiscard]] Status validate() const;
};

// -> StatsReply
struct GetStats {
  static constexpr const char* kKind = "stats";
  static void fields(auto&, auto&) {}
};

// -> Pong
struct Ping {
  static constexpr const char* kKind = "ping";
  static void fields(auto&, auto&) {}
};

// The reply to a request that was not carried out.
struct ErrorReply {
  static constexpr const char* kKind = "error";
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  static void fields(auto& self, auto& field) {
    field("code", self.code);
    field("message", self.message);
  }
};

struct Submitted {
  static constexpr const char* kKind = "submitted";
  std::vector<JobId> ids;  // in the order of the batch
  std::vector<bool>
      duplicates;  // as long as ids; true: the idempotency key was known, the id is the first job's

  static void fields(auto& self, auto& field) {
    field("ids", self.ids);
    field("duplicates", self.duplicates);
  }
};

struct DaemonStatus {
  static constexpr const char* kKind = "daemon_status";
  std::string version;
  std::string events_url;  // where events are published (event.h)
  std::uint64_t uptime_ms = 0;
  bool draining = false;
  std::map<std::string, std::uint64_t> jobs;  // number of jobs by state; every state is present
  std::uint32_t plan = 0;                     // of the first connected worker; 0 without one
  std::vector<WorkerInfo> workers;

  static void fields(auto& self, auto& field) {
    field("version", self.version);
    field("events_url", self.events_url);
    field("uptime_ms", self.uptime_ms);
    field("draining", self.draining);
    field("jobs", self.jobs);
    field("plan", self.plan);
    field("workers", self.workers);
  }
};

struct JobInfo {
  static constexpr const char* kKind = "job_info";
  JobId id = 0;
  std::string custom_id;
  Task task = Task::kSummarize;
  JobState state = JobState::kQueued;
  std::int32_t priority = 0;
  std::uint32_t attempt = 0;  // number of the latest lease; 0: never leased
  std::uint32_t max_attempts = 0;
  std::int64_t created_ms = 0;
  std::int64_t started_ms = 0;  // of the latest attempt; 0: not yet
  std::int64_t ended_ms = 0;    // 0: not yet
  std::string worker;           // of the latest attempt
  std::optional<Error> error;   // why it failed, or why the latest attempt did
  Progress progress;            // of a running job

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("custom_id", self.custom_id);
    field("task", self.task);
    field("state", self.state);
    field("priority", self.priority);
    field("attempt", self.attempt);
    field("max_attempts", self.max_attempts);
    field("created_ms", self.created_ms);
    field("started_ms", self.started_ms);
    field("ended_ms", self.ended_ms);
    field("worker", self.worker);
    field("error", self.error);
    field("progress", self.progress);
  }
};

struct JobList {
  static constexpr const char* kKind = "job_list";
  std::vector<JobInfo> jobs;
  bool more = false;  // older jobs match too: ask again with before_id = the last id here

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("more", self.more);
  }
};

struct JobResult {
  static constexpr const char* kKind = "job_result";
  JobInfo job;
  std::vector<Output> outputs;  // empty unless succeeded
  JobMetrics metrics;

  static void fields(auto& self, auto& field) {
    field("job", self.job);
    field("outputs", self.outputs);
    field("metrics", self.metrics);
  }
};

struct WaitReply {
  static constexpr const char* kKind = "waited";
  std::vector<JobInfo> jobs;  // in the order asked for
  bool done = false;          // all of them have ended

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("done", self.done);
  }
};

struct CancelReply {
  static constexpr const char* kKind = "cancelled";
  std::vector<JobInfo> jobs;     // after the request, in the order asked for; not_found ids are left out
  std::vector<JobId> cancelled;  // those that this request cancelled
  std::vector<JobId> not_found;

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("cancelled", self.cancelled);
    field("not_found", self.not_found);
  }
};

struct LayersReply {
  static constexpr const char* kKind = "layers_reply";
  std::vector<ModelLayers> models;  // every model that a worker ever announced, the latest first
  static void fields(auto& self, auto& field) { field("models", self.models); }
};

struct PlanReply {
  static constexpr const char* kKind = "plan_reply";
  std::vector<WorkerPlan> workers;
  static void fields(auto& self, auto& field) { field("workers", self.workers); }
};

struct StatsReply {
  static constexpr const char* kKind = "stats_reply";
  std::uint64_t uptime_ms = 0;
  std::map<std::string, std::uint64_t> counters;  // since the daemon's start; names in docs/protocol.md
  std::vector<WorkerInfo> workers;

  static void fields(auto& self, auto& field) {
    field("uptime_ms", self.uptime_ms);
    field("counters", self.counters);
    field("workers", self.workers);
  }
};

struct Pong {
  static constexpr const char* kKind = "pong";
  std::string version;
  static void fields(auto& self, auto& field) { field("version", self.version); }
};

}  // namespace dslad::schema
