// The transitions of a job, each as rows. Only these functions write the tables of jobs and attempts; each
// runs inside the caller's transaction (a Task). Times are milliseconds since the epoch, passed in.
//
// The fence: a lease is (job, attempt), and it is good only while the job is running with that very attempt.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/store/queued_jobs.h"
#include "daemon/store/sqlite.h"
#include "schema/client_messages.h"
#include "schema/worker_messages.h"

namespace dslad::daemon {

struct QueueLimits {
  std::uint32_t default_max_attempts = 3;
  std::int64_t max_queued = 1'000'000;  // jobs in state queued; beyond it submits are refused
};

// A job's turn among those of its priority: its deadline, or a day after it came, so that jobs with deadlines
// do not keep the others waiting for ever.
std::int64_t due_ms(std::uint64_t deadline_in_ms, std::int64_t now_ms);

// Of all its texts.
std::size_t bytes_of(const schema::JobSpec& spec);

// kResourceExhausted where the queue is full. All jobs of the batch or none. `client`: for whom they are;
// `refused`: by index, why a job may not be taken unless its key is known already.
Result<schema::Submitted> enqueue(Database& db, const std::vector<schema::JobRequest>& jobs,
                                  const QueueLimits& limits, std::int64_t now_ms,
                                  std::string_view client = {},
                                  const std::vector<std::optional<Error>>& refused = {});

struct WorkerName {
  std::string name;
  std::string instance;
};

// Who takes jobs, and with which model: kept with each attempt.
struct Claimant {
  WorkerName worker;
  std::string model;
  std::string model_digest;
  std::uint32_t context = 0;      // tokens
  std::uint64_t cache_bytes = 0;  // 0: not known
};

// The plan that an attempt is to run on, and what decided about it.
struct PlanChoice {
  std::optional<std::uint32_t> plan;  // absent: the worker's plan in force
  std::string why;                    // empty: nobody decided
};
// Called inside the claim; must not touch the database.
using ChoosePlan = std::function<PlanChoice(const QueuedJob&)>;

struct Claimed {
  schema::Lease lease;
  schema::JobSpec spec;
  QueuedJob job;
  PlanChoice choice;
};

// Leases one queued job.
Result<schema::Lease> open_lease(Database& db, schema::JobId id, const Claimant& claimant,
                                 const PlanChoice& choice, std::int64_t now_ms);

// Leases up to `count` queued jobs that ask for this model or for none and that no worker of its size has
// refused: by priority (higher first), then by deadline (a day after the submit where there is none), then
// by arrival. Expired jobs are left for expire().
Result<std::vector<Claimed>> claim(Database& db, const Claimant& claimant, std::uint32_t count,
                                   std::int64_t now_ms, const ChoosePlan& choose = nullptr);

// What became of a job. `accepted` is false where the lease was no longer good; then nothing was changed.
struct Outcome {
  bool accepted = false;
  schema::JobState state = schema::JobState::kQueued;  // now
  std::optional<Error> error;                          // recorded with the job
  bool rerun = false;                                  // it was one of another job's (reruns.h)
};

struct FinishRules {
  bool fits_elsewhere = false;  // a worker that is connected can run what was too large for this one
  double canary_share = 0;      // of jobs on plans above 0, those that are wanted again on plan 0
};

// Records a worker's result. A retryable error puts the job back until its attempts are used up. So does,
// where it fits elsewhere, one that says that this worker is too small; it uses up no attempt. Nor does the
// first kCorrupt of a plan above 0: a converted layer failed, and the job is put back to run on plan 0.
Result<Outcome> finish(Database& db, const schema::WorkerResult& result, std::int64_t now_ms,
                       const FinishRules& rules = {});

enum class LeaseEnd : std::uint8_t {
  kLost,       // the worker vanished: a failed attempt
  kGivenBack,  // the worker left in order, or never got the job: does not count
};

// Ends a lease without a result: back to the queue, or failed after the last attempt.
Result<Outcome> release(Database& db, const schema::Lease& lease, LeaseEnd end, const std::string& why,
                        std::int64_t now_ms);

// A job that was ended from outside, and the lease that this broke.
struct Ended {
  schema::JobId id = 0;
  std::optional<schema::Lease> lease;
};

struct CancelOutcome {
  std::vector<Ended> cancelled;  // by this call
  std::vector<schema::JobId> not_found;
};

Result<CancelOutcome> cancel(Database& db, const std::vector<schema::JobId>& ids, std::int64_t now_ms);

// Moves all times of jobs that have not ended, after the clock that they were read from has jumped by so
// much: what was to come in a minute still comes in a minute.
Status shift_open_jobs(Database& db, std::int64_t by_ms);

// Ends the jobs whose deadline has passed.
Result<std::vector<Ended>> expire(Database& db, std::int64_t now_ms);

}  // namespace dslad::daemon
