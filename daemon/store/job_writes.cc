#include "daemon/store/job_writes.h"

#include <algorithm>
#include <fmt/format.h>

#include "daemon/store/queued_jobs.h"
#include "daemon/store/transitions.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

Status end_job(Database& db, const Ended& ended, JobState state, const Error& error, std::int64_t now_ms) {
  Status status = move_job(db, ended.id, {state, false, error}, now_ms);
  if (status && ended.lease) status = end_attempt(db, *ended.lease, schema::to_string(state), error, now_ms);
  return status;
}

std::optional<Lease> lease_if(bool leased, JobId id, std::int64_t attempt) {
  if (!leased) return std::nullopt;
  return Lease{id, static_cast<std::uint32_t>(attempt)};
}

}  // namespace

Result<CancelOutcome> cancel(Database& db, const std::vector<JobId>& ids, std::int64_t now_ms,
                             const Scope& scope) {
  CancelOutcome outcome;
  for (const JobId id : ids) {
    Query query(db,
                "SELECT state, attempt, " DSLAD_LEASED
                " FROM jobs WHERE id = ?1 AND rerun_of IS NULL AND "
                "(?2 IS NULL OR owner = ?2)",
                id, scope.bound());
    if (!query.next()) {
      if (!query.status()) return query.status().error();
      outcome.not_found.push_back(id);
      continue;
    }
    const std::string state = query.text(0);
    const bool running = state == "running";
    if (!running && state != "queued") continue;
    const Ended ended{id, lease_if(running || query.integer(2) != 0, id, query.integer(1))};
    const Error error{ErrorCode::kRefused, "cancelled by a client"};
    if (Status status = end_job(db, ended, JobState::kCancelled, error, now_ms); !status)
      return status.error();
    outcome.cancelled.push_back(ended);
  }
  return outcome;
}

// In what follows the indexes are named, since SQLite would else read the states of all jobs that wait.

Result<bool> wake(Database& db, std::int64_t now_ms) {
  {
    Query due(db,
              "SELECT 1 FROM jobs INDEXED BY jobs_not_before WHERE state = 'queued' AND not_before_ms IS NOT "
              "NULL AND not_before_ms <= ? LIMIT 1",
              now_ms);
    const bool any = due.next();
    if (!due.status()) return due.status().error();
    if (!any) return false;  // nothing is written while nothing happens
  }
  const Status status = db.run(
      "UPDATE jobs INDEXED BY jobs_not_before SET not_before_ms = NULL WHERE state = 'queued' AND "
      "not_before_ms IS NOT NULL AND not_before_ms <= ?",
      now_ms);
  if (!status) return status.error();
  return true;
}

Status shift_open_jobs(Database& db, std::int64_t by_ms) {
  Status status = db.run(
      "UPDATE attempts SET started_ms = started_ms + ? WHERE (job_id, attempt) IN "
      "(SELECT id, attempt FROM jobs WHERE state = 'running' OR (state = 'queued' AND attempt > 0)) "
      "AND outcome IS NULL",
      by_ms);
  if (!status) return status;
  return db.run(
      "UPDATE jobs SET created_ms = created_ms + ?1, due_ms = due_ms + ?1, deadline_ms = deadline_ms + ?1, "
      "expires_ms = expires_ms + ?1, not_before_ms = not_before_ms + ?1 WHERE state IN ('queued', 'running')",
      by_ms);
}

Result<std::optional<std::int64_t>> next_due(Database& db) {
  Query query(
      db,
      "SELECT (SELECT min(expires_ms) FROM jobs INDEXED BY jobs_expiry WHERE expires_ms IS NOT NULL AND "
      "state IN ('queued', 'running')), (SELECT min(not_before_ms) FROM jobs INDEXED BY jobs_not_before "
      "WHERE not_before_ms IS NOT NULL AND state = 'queued')");
  std::optional<std::int64_t> next;
  if (query.next()) {
    for (const int column : {0, 1}) {
      if (query.is_null(column)) continue;
      next = std::min(next.value_or(query.integer(column)), query.integer(column));
    }
  }
  if (!query.status()) return query.status().error();
  return next;
}

Result<std::vector<Ended>> expire(Database& db, std::int64_t now_ms) {
  std::vector<Ended> expired;
  {
    Query query(db,
                "SELECT id, state = 'running' OR " DSLAD_LEASED
                ", attempt FROM jobs INDEXED BY jobs_expiry WHERE expires_ms IS NOT NULL AND "
                "expires_ms <= ? "
                "AND state IN ('queued', 'running') LIMIT 1000",
                now_ms);
    while (query.next()) {
      const JobId id = query.integer(0);
      expired.push_back({id, lease_if(query.integer(1) != 0, id, query.integer(2))});
    }
    if (!query.status()) return query.status().error();
  }
  for (const Ended& ended : expired) {
    const Error error{ErrorCode::kUnavailable, "had not ended by its deadline"};
    if (Status status = end_job(db, ended, JobState::kExpired, error, now_ms); !status) return status.error();
  }
  return expired;
}

// A rerun's texts are those of its job, so both go together; one that is under way keeps its job.
Result<std::uint64_t> forget(Database& db, const schema::Purge& which, std::uint32_t limit,
                             std::int64_t now_ms, const Scope& scope) {
  const std::int64_t before_ms = now_ms - static_cast<std::int64_t>(which.ended_before_ms);
  std::optional<std::string_view> state, label;
  if (which.state) state = schema::to_string(*which.state);
  if (!which.label.empty()) label = which.label;
  std::vector<JobId> ids;
  {
    Query query(
        db,
        "SELECT id FROM jobs j WHERE ended_ms <= ?1 AND rerun_of IS NULL AND (?2 IS NULL OR state = ?2) "
        "AND (?3 IS NULL OR EXISTS (SELECT 1 FROM job_labels WHERE label = ?3 AND job_id = j.id)) "
        "AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.rerun_of = j.id AND r.state IN "
        "('queued', 'running')) AND (?5 IS NULL OR owner = ?5) ORDER BY ended_ms LIMIT ?4",
        before_ms, state, label, limit, scope.bound());
    while (query.next()) ids.push_back(query.integer(0));
    if (!query.status()) return query.status().error();
  }
  for (const JobId id : ids) {
    if (Status status = db.run("DELETE FROM jobs WHERE id = ?", id); !status) return status.error();
  }
  return ids.size();
}

Status give_back_pages(Database& db) {
  return db.run("PRAGMA incremental_vacuum(4096)");
}

Result<std::int64_t> bytes_used(Database& db) {
  Query query(db,
              "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, "
              "pragma_freelist_count, pragma_page_size");
  const std::int64_t bytes = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return bytes;
}

}  // namespace dslad::daemon
