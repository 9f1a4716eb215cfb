// Jobs coming, and jobs ended from outside; what happens between, while a worker has them, is in leases.h.
// Each runs inside the caller's transaction. Times are milliseconds since the epoch, passed in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/store/scope.h"
#include "daemon/store/sqlite.h"
#include "schema/client_messages.h"
#include "schema/job.h"

namespace dslad::daemon {

struct QueueLimits {
  std::uint32_t default_max_attempts = 3;
  std::int64_t max_queued = 1'000'000;  // jobs in state queued; beyond it submits are refused
  std::int64_t max_queued_bytes = 0;    // of their texts, likewise; 0: as the disk has room
  schema::Overflow default_overflow = schema::Overflow::kError;  // of jobs that name none
};

// What becomes of a document of this job that is too long: a prompt to continue is never cut.
schema::Overflow overflow_of(const schema::JobSpec& spec, schema::Overflow by_default);

// A job's turn among those of its priority: its deadline, or a day after it came, so that jobs with deadlines
// do not keep the others waiting for ever.
std::int64_t due_ms(std::uint64_t deadline_in_ms, std::int64_t now_ms);

// Of all its texts.
std::size_t bytes_of(const schema::JobSpec& spec);

// What the daemon knows of a submit beside the request itself.
struct Intake {
  std::int64_t now_ms = 0;
  std::string owner = {};  // of the jobs
  std::vector<std::optional<Error>> refused =
      {};                                   // by index: why a job may not be taken unless its key is known
  std::vector<std::int64_t> delay_ms = {};  // by index: how much later than its arrival its turn is
};

// All jobs of the batch or none. kResourceExhausted where the queue is full; kRefused where a key is known of
// a job with another content, which is named. A known key gives the first job's id; one that has failed, was
// cancelled or has expired waits again where `retry_failed` is set, and `requeued` says so. Keys are the
// owner's own; a job that is nobody's, from before there were owners, becomes the owner's who submits it
// again.
struct Enqueued {
  schema::Submitted reply;
  std::vector<schema::JobId> requeued;
};
Result<Enqueued> enqueue(Database& db, const schema::Submit& submit, const QueueLimits& limits,
                         const Intake& intake);

// A job that was ended from outside, and the lease that this broke.
struct Ended {
  schema::JobId id = 0;
  std::optional<schema::Lease> lease;
};

struct CancelOutcome {
  std::vector<Ended> cancelled;  // by this call
  std::vector<schema::JobId> not_found;
};

Result<CancelOutcome> cancel(Database& db, const std::vector<schema::JobId>& ids, std::int64_t now_ms,
                             const Scope& scope = {});

struct RequeueOutcome {
  std::vector<schema::JobId> requeued;  // by this call
  std::vector<schema::JobId> not_found;
};

// Jobs that failed, were cancelled or have expired wait again, with all their attempts and without an expiry
// or a deadline that has passed. All or none: kResourceExhausted where the queue is full.
Result<RequeueOutcome> requeue(Database& db, const std::vector<schema::JobId>& ids, const QueueLimits& limits,
                               std::int64_t now_ms, const Scope& scope = {});

// Jobs whose time has come may have their turn. True where there are such.
Result<bool> wake(Database& db, std::int64_t now_ms);

// Moves all times of jobs that have not ended, after the clock that they were read from has jumped by so
// much: what was promised was time that passes.
Status shift_open_jobs(Database& db, std::int64_t by_ms);

// When the next job expires or may have its turn; nothing where none has such a time.
Result<std::optional<std::int64_t>> next_due(Database& db);

// Ends the jobs whose expiry has passed, queued or running; at most 1,000 a call.
Result<std::vector<Ended>> expire(Database& db, std::int64_t now_ms);

// Forgets up to `limit` jobs that ended before a moment, with all that is known of them; their number. Of
// this state and with this label alone, where they are given.
Result<std::uint64_t> forget(Database& db, const schema::Purge& which, std::uint32_t limit,
                             std::int64_t now_ms, const Scope& scope = {});

// Gives pages that nothing uses back to the disk, some MiB a call; the file shrinks with the next checkpoint.
Status give_back_pages(Database& db);

// The database's pages in use, in bytes.
Result<std::int64_t> bytes_used(Database& db);

}  // namespace dslad::daemon
