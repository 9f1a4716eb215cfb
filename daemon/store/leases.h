// Jobs that are being worked on: how a worker gets them, and what becomes of them. Runs inside the caller's
// transaction. Times are milliseconds since the epoch, passed in.
//
// The fence: a lease is (job, attempt), and it is good only while that very attempt is the job's latest and
// has not ended. A job is `running` once its worker has begun it. Until then a worker that tells when it
// begins keeps it `queued`, though leased: it waits there instead of here.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "daemon/store/queued_jobs.h"
#include "daemon/store/sqlite.h"
#include "schema/client_messages.h"
#include "schema/worker_messages.h"

namespace dslad::daemon {

struct WorkerName {
  std::string name;
  std::string instance;
};

// Who takes jobs, and with which model: kept with each attempt.
struct Claimant {
  WorkerName worker;
  std::string model;
  std::string model_digest;
  std::uint32_t context = 0;                 // tokens
  std::uint64_t cache_bytes = 0;             // 0: not known
  bool empty = true;                         // it holds no job: a suspect may run there
  std::vector<std::int64_t> documents = {};  // that it was given of late, as QueuedJob names them
  bool tells_begun = false;                  // else a job counts as begun when it is leased
  std::vector<PlanRoom> plans = {};          // that it may give to jobs; empty: not known
};

// Whether the worker that claims is to have a job whose turn it is.
enum class Taking : std::uint8_t {
  kYes,
  kLast,  // where nothing else waits for it
  kNo,    // it is left to another
};

// The plan that an attempt is to run on, and what decided about it.
struct PlanChoice {
  std::optional<std::uint32_t> plan;  // absent: the worker's plan in force
  std::string why;                    // empty: nobody decided
  // Of plan 0's quality, what it must have, also where the worker's chain is another by now.
  double min_quality = 0;
  Taking taking = Taking::kYes;
};
// Called inside the claim; must not touch the database.
using ChoosePlan = std::function<PlanChoice(const QueuedJob&)>;

struct Claimed {
  schema::Lease lease;
  schema::JobSpec spec;
  QueuedJob job;
  PlanChoice choice;
};

// A job that failed because its texts cannot be read.
struct Unreadable {
  schema::JobId job = 0;
  Error error;
};

struct Claim {
  std::vector<Claimed> jobs;
  std::vector<Unreadable> unreadable;
  bool queue_empty = false;    // for this worker; else there may be more
  bool left_some = false;      // jobs that `choose` leaves to others
  bool suspect_waits = false;  // the next is to run alone, and this worker has others
};

// Leases one queued job.
Result<schema::Lease> open_lease(Database& db, schema::JobId id, const Claimant& claimant,
                                 const PlanChoice& choice, std::int64_t now_ms);

// These have begun: they are running from now on. Gives those that were not.
Result<std::vector<schema::Lease>> begin(Database& db, const std::vector<schema::Lease>& leases,
                                         std::int64_t now_ms);

// Leases up to `count` queued jobs that ask for this model or for none and that, as far as refusals have
// shown, it has room for on a plan that they allow: by priority (higher first), then by deadline (a day after
// the submit where there is none), then by arrival. A document that the worker was given of late, and may
// still know, counts as if its job had come a little earlier. Those that `choose` leaves are passed over, of
// the first 2,000. Fewer where their texts take too much memory together. A suspect comes alone, and nothing
// behind it comes before it. Expired jobs are left for expire(); a job whose texts are not there fails.
//
// Once SQLite has met damage in a transaction it lets nothing be written there. So where a job's texts lie on
// a damaged page the claim fails with kCorrupt and leaves the job in `damaged`: see fail_damaged().
Result<Claim> claim(Database& db, const Claimant& claimant, std::uint32_t count, std::int64_t now_ms,
                    const ChoosePlan& choose = nullptr, std::optional<Unreadable>* damaged = nullptr);

// For the next transaction: the job fails where it waits, and is not run again where that is wanted. False
// where it does not wait, so that nobody needs to be told.
Result<bool> fail_damaged(Database& db, const Unreadable& damaged, std::int64_t now_ms);

// How long a job waits after an attempt that failed: twice as long after each, up to a bound, and of that
// between a half and the whole, so that jobs that failed together do not come back together.
struct RetryRules {
  std::int64_t first_ms = 0;  // after the first; 0: never
  std::int64_t most_ms = 0;
};
std::int64_t retry_delay_ms(const RetryRules& rules, const schema::Lease& lease,
                            std::int64_t failed_attempts);

// What became of a job. `accepted` is false where the lease was no longer good; then nothing was changed.
struct Outcome {
  bool accepted = false;
  schema::JobState state = schema::JobState::kQueued;  // now
  std::optional<Error> error;                          // recorded with the job
  bool rerun = false;                                  // it was one of another job's (reruns.h)
};

struct FinishRules {
  // A worker that is connected can run what was too large for this one, or this one can on another plan.
  bool fits_elsewhere = false;
  double canary_share = 0;  // of jobs on plans above 0, those that are wanted again on plan 0
  RetryRules retry = {};
  bool tells_begun = false;        // the worker: begin() was called when it said so, after a step
  std::uint64_t needs_tokens = 0;  // learnt of what was too large; 0: the result's own figures count
};

// Records a worker's result. A retryable error puts the job back until its attempts are used up. So does,
// where it fits elsewhere, one that says that this worker is too small for it on the plan that it had; it
// uses up no attempt. Nor does the first kCorrupt of a plan above 0: a converted layer failed, and the job is
// put back to run on plan 0.
Result<Outcome> finish(Database& db, const schema::WorkerResult& result, std::int64_t now_ms,
                       const FinishRules& rules = {});

// Why a lease ended without a result.
enum class LeaseEnd : std::uint8_t {
  kLost,       // its worker broke while it had this job alone: a failed attempt
  kSuspected,  // its worker broke while it had others, too: not counted, but it runs alone from now on
  kGivenBack,  // the worker left in order, or never got the job: not counted
};

// Back to the queue, or failed after the last attempt.
Result<Outcome> release(Database& db, const schema::Lease& lease, LeaseEnd end, const std::string& why,
                        std::int64_t now_ms, const RetryRules& retry = {});

}  // namespace dslad::daemon
