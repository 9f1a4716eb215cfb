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

#include "base/result.h"
#include "schema/job.h"
#include "schema/reports.h"

namespace dslad::schema {

// What a client asks of the plan that its job runs on, and by when it wants the answer.
struct JobTerms {
  std::string model;                      // name or digest of the model that must answer; empty: any
  std::uint64_t deadline_in_ms = 0;       // from the submit; 0: none. Later the answer is still of use
  std::optional<double> min_quality;      // of the plan, relative to plan 0, from 0 to 1
  std::optional<std::uint32_t> max_plan;  // 0: exact
  bool best_effort = false;               // take the job even where the deadline cannot be met
  bool upgrade =
      false;  // answered on another plan, it is run again on plan 0 when there is nothing else to do

  static void fields(auto& self, auto& field) {
    field("model", self.model);
    field("deadline_in_ms", self.deadline_in_ms);
    field("min_quality", self.min_quality);
    field("max_plan", self.max_plan);
    field("best_effort", self.best_effort);
    field("upgrade", self.upgrade);
  }
  [[nodiscard]] Status validate() const;
};

// One job of a submit.
struct JobRequest {
  JobSpec spec;
  std::int32_t priority = 0;        // higher runs first; ties by arrival
  std::uint32_t max_attempts = 0;   // leases that may end without a result; 0: the daemon's default
  std::string idempotency_key;      // a repeated key returns the first job; refused if its content differs
  std::string custom_id;            // the client's own name for the job; need not be unique
  std::vector<std::string> labels;  // words to find it by
  std::uint64_t expires_in_ms = 0;  // ends as `expired` unless it has ended by then; 0: never
  std::uint64_t start_in_ms = 0;    // begins no earlier than so long after the submit; 0: at once
  JobTerms terms;

  static void fields(auto& self, auto& field) {
    JobSpec::fields(self.spec, field);  // its keys lie beside the others
    JobTerms::fields(self.terms, field);
    field("priority", self.priority);
    field("max_attempts", self.max_attempts);
    field("idempotency_key", self.idempotency_key);
    field("custom_id", self.custom_id);
    field("labels", self.labels);
    field("expires_in_ms", self.expires_in_ms);
    field("start_in_ms", self.start_in_ms);
  }
  [[nodiscard]] Status validate() const;
};

// -> Submitted, once every job of the batch is on disk. All jobs of a batch are taken, or none is.
struct Submit {
  static constexpr const char* kKind = "submit";
  std::vector<JobRequest> jobs;
  std::string client = {};  // for whom: when work must be made cheaper, it is first that of who sent the most
  bool retry_failed = false;  // jobs that are known by their keys and have failed or were cancelled run again

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("client", self.client);
    field("retry_failed", self.retry_failed);
  }
  [[nodiscard]] Status validate() const;
};

// -> DaemonStatus
struct GetStatus {
  static constexpr const char* kKind = "status";
  static void fields(auto&, auto&) {}
};

// A place in the order in which jobs end.
struct EndedAfter {
  std::int64_t time_ms = 0;  // a job that ended later comes after it
  JobId id = 0;              // as does one that ended in that millisecond and has a larger id

  static void fields(auto& self, auto& field) {
    field("time_ms", self.time_ms);
    field("id", self.id);
  }
};

// -> JobList, newest first; with `ended_after` jobs that have ended, in the order of their ends.
struct ListJobs {
  static constexpr const char* kKind = "list";
  std::optional<JobState> state;  // only jobs in this state
  std::string label;              // only jobs that have it; empty: all
  std::string client;             // only jobs of this client; empty: of all
  std::uint32_t limit = 100;
  JobId before_id = 0;  // only jobs with a smaller id: the next page; 0: from the newest
  std::optional<EndedAfter> ended_after = {};  // the next page: where the last job of this one ended
  std::string owner = {};                      // only jobs of this owner; empty: of all that may be seen

  static void fields(auto& self, auto& field) {
    field("state", self.state);
    field("label", self.label);
    field("client", self.client);
    field("limit", self.limit);
    field("before_id", self.before_id);
    field("ended_after", self.ended_after);
    field("owner", self.owner);
  }
  [[nodiscard]] Status validate() const;
};

// -> JobCounts
struct CountJobs {
  static constexpr const char* kKind = "count";
  std::string label;   // only jobs that have it; empty: of any, then `client` must be named
  std::string client;  // only jobs of this client; empty: of all

  static void fields(auto& self, auto& field) {
    field("label", self.label);
    field("client", self.client);
  }
  [[nodiscard]] Status validate() const;
};

// -> JobInfo, or not_found.
struct GetJob {
  static constexpr const char* kKind = "job";
  JobId id = 0;
  static void fields(auto& self, auto& field) { field("id", self.id); }
};

// -> JobResult, in whatever state the job is; or not_found. Long results come in pages.
struct GetResult {
  static constexpr const char* kKind = "result";
  JobId id = 0;
  std::uint32_t from = 0;  // 0: the first page; else `next` of the page before

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("from", self.from);
  }
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

// -> RequeueReply. Jobs that failed, were cancelled or have expired wait again, with all their attempts;
// others stay as they are.
struct Requeue {
  static constexpr const char* kKind = "requeue";
  std::vector<JobId> ids;
  static void fields(auto& self, auto& field) { field("ids", self.ids); }
  [[nodiscard]] Status validate() const;
};

// -> PurgeReply. Forgets jobs that have ended, with their texts and results; at most kMaxPurge a request.
struct Purge {
  static constexpr const char* kKind = "purge";
  std::uint64_t ended_before_ms = 0;   // so long ago or longer
  std::optional<JobState> state = {};  // only jobs that ended so
  std::string label = {};              // only jobs that have it; empty: all

  static void fields(auto& self, auto& field) {
    field("ended_before_ms", self.ended_before_ms);
    field("state", self.state);
    field("label", self.label);
  }
  [[nodiscard]] Status validate() const;
};

// -> QueueReply. Kept over restarts.
struct SetQueueMode {
  static constexpr const char* kKind = "queue_set";
  QueueMode mode = QueueMode::kOpen;
  static void fields(auto& self, auto& field) { field("mode", self.mode); }
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

// -> PlanReply once every connected worker has confirmed or refused; unavailable without workers; an error
// where all refuse.
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
  std::vector<std::int64_t> finish_ms;  // as long as ids: when each is expected to end; 0: nothing is known

  static void fields(auto& self, auto& field) {
    field("ids", self.ids);
    field("duplicates", self.duplicates);
    field("finish_ms", self.finish_ms);
  }
};

struct DaemonStatus {
  static constexpr const char* kKind = "daemon_status";
  std::string version;
  std::string events_url;  // where events are published (event.h)
  std::uint64_t uptime_ms = 0;
  bool draining = false;  // the daemon is stopping
  QueueMode mode = QueueMode::kOpen;
  std::map<std::string, std::uint64_t> jobs;  // number of jobs by state; every state is present
  std::uint32_t plan = 0;                     // of the first connected worker; 0 without one
  std::vector<WorkerInfo> workers;
  PolicyKind policy = PolicyKind::kManual;
  std::uint64_t drain_ms = 0;        // until what waits and runs is expected to be done; 0: nothing is known
  std::uint64_t waiting_tokens = 0;  // of prompts, predicted
  std::string you;                   // who asks, as the owner of jobs: "uid:1000", "key:alice"
  std::string role;                  // and what that may do: "submit", "read" or "admin"

  static void fields(auto& self, auto& field) {
    field("version", self.version);
    field("events_url", self.events_url);
    field("uptime_ms", self.uptime_ms);
    field("draining", self.draining);
    field("mode", self.mode);
    field("jobs", self.jobs);
    field("plan", self.plan);
    field("workers", self.workers);
    field("policy", self.policy);
    field("drain_ms", self.drain_ms);
    field("waiting_tokens", self.waiting_tokens);
    field("you", self.you);
    field("role", self.role);
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
  std::int64_t started_ms = 0;  // when the latest attempt began; 0: not yet
  std::int64_t ended_ms = 0;    // 0: not yet
  std::string worker;           // of the latest attempt
  std::optional<Error> error;   // why it failed, or why the latest attempt did
  Progress progress;            // of a running job
  std::string client;
  std::string model;             // that must answer; empty: any
  std::int64_t deadline_ms = 0;  // 0: none
  std::optional<double> min_quality;
  std::optional<std::uint32_t> max_plan;
  bool upgrade = false;  // it asked to be run again on plan 0
  std::vector<std::string> labels;
  std::int64_t starts_ms = 0;  // it waits until then; 0: it does not wait for a time
  bool alone = false;          // workers died with it and others, so it runs with no other job beside it
  std::uint64_t place = 0;     // in the queue, from 1; 0: it does not wait, or far behind
  std::int64_t finish_ms = 0;  // when it is expected to end; 0: nothing is known
  std::string owner;           // who submitted it: "uid:1000", "key:alice"; empty: before there were owners
  bool at_worker = false;      // it is queued, and `worker` has it already and begins it next

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
    field("client", self.client);
    field("model", self.model);
    field("deadline_ms", self.deadline_ms);
    field("min_quality", self.min_quality);
    field("max_plan", self.max_plan);
    field("upgrade", self.upgrade);
    field("labels", self.labels);
    field("starts_ms", self.starts_ms);
    field("alone", self.alone);
    field("place", self.place);
    field("finish_ms", self.finish_ms);
    field("owner", self.owner);
    field("at_worker", self.at_worker);
  }
};

struct JobList {
  static constexpr const char* kKind = "job_list";
  std::vector<JobInfo> jobs;
  bool more = false;  // others match too: ask again with before_id = the last id here, or ended_after

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("more", self.more);
  }
};

struct JobCounts {
  static constexpr const char* kKind = "counts";
  std::map<std::string, std::uint64_t> jobs;  // number of jobs by state; every state is present
  std::int64_t created_ms = 0;                // of the first; 0: there are none
  std::int64_t ended_ms = 0;                  // of the one that ended last; 0: none has

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("created_ms", self.created_ms);
    field("ended_ms", self.ended_ms);
  }
};

struct JobResult {
  static constexpr const char* kKind = "job_result";
  JobInfo job;
  std::vector<Output> outputs;  // empty unless succeeded
  JobMetrics metrics;
  std::optional<Rerun> rerun = std::nullopt;  // on plan 0, once there is one
  // Where the next page begins, 0: this is the last. Pages run through the outputs, then the rerun's.
  std::uint32_t next = 0;

  static void fields(auto& self, auto& field) {
    field("job", self.job);
    field("outputs", self.outputs);
    field("metrics", self.metrics);
    field("rerun", self.rerun);
    field("next", self.next);
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

struct RequeueReply {
  static constexpr const char* kKind = "requeued";
  std::vector<JobInfo> jobs;    // after the request, in the order asked for; not_found ids are left out
  std::vector<JobId> requeued;  // those that wait again by this request
  std::vector<JobId> not_found;

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("requeued", self.requeued);
    field("not_found", self.not_found);
  }
};

struct PurgeReply {
  static constexpr const char* kKind = "purged";
  std::uint64_t jobs = 0;  // that are gone
  bool more = false;       // others match too: ask again

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("more", self.more);
  }
};

struct QueueReply {
  static constexpr const char* kKind = "queue_reply";
  QueueMode mode = QueueMode::kOpen;
  static void fields(auto& self, auto& field) { field("mode", self.mode); }
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
  std::vector<CostModelInfo> cost_models = {};

  static void fields(auto& self, auto& field) {
    field("uptime_ms", self.uptime_ms);
    field("counters", self.counters);
    field("workers", self.workers);
    field("cost_models", self.cost_models);
  }
};

struct Pong {
  static constexpr const char* kKind = "pong";
  std::string version;
  static void fields(auto& self, auto& field) { field("version", self.version); }
};

}  // namespace dslad::schema
