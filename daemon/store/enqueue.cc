#include <algorithm>
#include <fmt/format.h>

#include "daemon/store/job_writes.h"
#include "schema/limits.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobRequest;

constexpr std::uint64_t kDueWithoutDeadlineMs = 24 * 3600 * 1000;

// A view, because a Query borrows what is bound to it.
std::optional<std::string_view> null_if_empty(std::string_view text) {
  if (text.empty()) return std::nullopt;
  return text;
}

// That long after `now_ms`; nothing for 0.
std::optional<std::int64_t> after(std::uint64_t in_ms, std::int64_t now_ms) {
  if (in_ms == 0) return std::nullopt;
  return now_ms + static_cast<std::int64_t>(std::min(in_ms, schema::kMaxExpiryMs));
}

// The new row's id, or nothing where the idempotency key is taken.
Result<std::optional<JobId>> insert_job(Database& db, const JobRequest& job, std::string_view client,
                                        const QueueLimits& limits, std::int64_t now_ms) {
  const std::optional<std::int64_t> expires_ms = after(job.expires_in_ms, now_ms);
  const std::optional<std::int64_t> deadline_ms = after(job.terms.deadline_in_ms, now_ms);
  Query insert(
      db,
      "INSERT INTO jobs (task, priority, custom_id, idempotency_key, max_attempts, created_ms, expires_ms, "
      "client, model, deadline_ms, due_ms, min_quality, max_plan, best_effort, upgrade, bytes, questions, "
      "max_tokens) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (idempotency_key) DO NOTHING RETURNING id",
      schema::to_string(job.spec.task), job.priority, job.custom_id, null_if_empty(job.idempotency_key),
      job.max_attempts > 0 ? job.max_attempts : limits.default_max_attempts, now_ms, expires_ms, client,
      job.terms.model, deadline_ms, due_ms(job.terms.deadline_in_ms, now_ms), job.terms.min_quality,
      job.terms.max_plan, job.terms.best_effort ? 1 : 0, job.terms.upgrade ? 1 : 0,
      static_cast<std::int64_t>(bytes_of(job.spec)), static_cast<std::int64_t>(job.spec.questions.size()),
      job.spec.options.max_tokens);
  std::optional<JobId> id;
  while (insert.next()) id = insert.integer(0);
  if (!insert.status()) return insert.status().error();
  return id;
}

Status insert_payload(Database& db, JobId id, const schema::JobSpec& spec) {
  const schema::SamplingOptions& options = spec.options;
  Status status = db.run(
      "INSERT INTO job_inputs (job_id, max_tokens, temperature, top_p, seed, document, prompt) "
      "VALUES (?, ?, ?, ?, ?, ?, ?)",
      id, options.max_tokens, options.temperature, options.top_p, static_cast<std::int64_t>(options.seed),
      spec.document, spec.prompt);
  for (std::size_t i = 0; status && i < spec.questions.size(); ++i) {
    status = db.run("INSERT INTO job_questions (job_id, number, question) VALUES (?, ?, ?)", id,
                    static_cast<std::int64_t>(i), spec.questions[i]);
  }
  return status;
}

Result<JobId> find_by_key(Database& db, const std::string& key) {
  Query query(db, "SELECT id FROM jobs WHERE idempotency_key = ?", key);
  if (query.next()) return query.integer(0);
  if (!query.status()) return query.status().error();
  return Error{ErrorCode::kInternal, fmt::format("no job has the idempotency key '{}'", key)};
}

// Of the jobs, those that the queue does not know by their keys: what is sent again needs no room.
Result<std::int64_t> count_new(Database& db, const std::vector<JobRequest>& jobs) {
  std::int64_t count = 0;
  for (const JobRequest& job : jobs) {
    if (job.idempotency_key.empty()) {
      ++count;
      continue;
    }
    Query query(db, "SELECT 1 FROM jobs WHERE idempotency_key = ?", job.idempotency_key);
    if (!query.next()) ++count;
    if (!query.status()) return query.status().error();
  }
  return count;
}

Status check_room(Database& db, const std::vector<JobRequest>& jobs, const QueueLimits& limits) {
  Query query(db, "SELECT jobs FROM job_counts WHERE state = 'queued'");
  const std::int64_t queued = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status();
  if (queued + static_cast<std::int64_t>(jobs.size()) <= limits.max_queued) return ok_status();
  const Result<std::int64_t> added = count_new(db, jobs);
  if (!added) return added.error();
  if (*added == 0 || queued + *added <= limits.max_queued) return ok_status();
  return Error{ErrorCode::kResourceExhausted,
               fmt::format("{} jobs are queued and queue.max_queued is {}: submit again later", queued,
                           limits.max_queued)};
}

}  // namespace

std::int64_t due_ms(std::uint64_t deadline_in_ms, std::int64_t now_ms) {
  return *after(deadline_in_ms > 0 ? deadline_in_ms : kDueWithoutDeadlineMs, now_ms);
}

std::size_t bytes_of(const schema::JobSpec& spec) {
  std::size_t bytes = spec.document.size() + spec.prompt.size();
  for (const std::string& question : spec.questions) bytes += question.size();
  return bytes;
}

Result<schema::Submitted> enqueue(Database& db, const std::vector<JobRequest>& jobs,
                                  const QueueLimits& limits, std::int64_t now_ms, std::string_view client,
                                  const std::vector<std::optional<Error>>& refused) {
  if (Status status = check_room(db, jobs, limits); !status) return status.error();
  schema::Submitted reply;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobRequest& job = jobs[i];
    const Result<std::optional<JobId>> inserted = insert_job(db, job, client, limits, now_ms);
    if (!inserted) return inserted.error();
    if (*inserted && i < refused.size() && refused[i]) {
      return jobs.size() == 1 ? *refused[i] : refused[i]->with_context(fmt::format("jobs[{}]", i));
    }
    if (*inserted) {
      if (Status status = insert_payload(db, **inserted, job.spec); !status) return status.error();
    }
    const Result<JobId> id = *inserted ? Result<JobId>(**inserted) : find_by_key(db, job.idempotency_key);
    if (!id) return id.error();
    reply.ids.push_back(*id);
    reply.duplicates.push_back(!inserted->has_value());
  }
  return reply;
}

}  // namespace dslad::daemon
