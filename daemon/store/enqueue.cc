#include <algorithm>
#include <fmt/format.h>

#include "base/digest.h"
#include "daemon/store/job_reads.h"
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

// A name for the document; 0: there is none.
std::int64_t document_of(const schema::JobSpec& spec) {
  return spec.document.empty() ? 0 : static_cast<std::int64_t>(hash_of(spec.document).low);
}

// The new row's id, or nothing where the idempotency key is taken.
Result<std::optional<JobId>> insert_job(Database& db, const JobRequest& job, std::string_view client,
                                        const QueueLimits& limits, const Intake& intake,
                                        std::int64_t delay_ms) {
  const std::int64_t now_ms = intake.now_ms;
  const std::optional<std::int64_t> expires_ms = after(job.expires_in_ms, now_ms);
  const std::optional<std::int64_t> deadline_ms = after(job.terms.deadline_in_ms, now_ms);
  const std::optional<std::int64_t> not_before_ms = after(job.start_in_ms, now_ms);
  Query insert(
      db,
      "INSERT INTO jobs (task, priority, custom_id, owner_key, max_attempts, created_ms, expires_ms, "
      "client, model, deadline_ms, due_ms, min_quality, max_plan, best_effort, upgrade, bytes, questions, "
      "max_tokens, not_before_ms, owner, overflow, document) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (owner, owner_key) WHERE owner_key IS NOT NULL DO NOTHING RETURNING id",
      schema::to_string(job.spec.task), job.priority, job.custom_id, null_if_empty(job.idempotency_key),
      job.max_attempts > 0 ? job.max_attempts : limits.default_max_attempts, now_ms, expires_ms, client,
      job.terms.model, deadline_ms, due_ms(job.terms.deadline_in_ms, now_ms) + (deadline_ms ? 0 : delay_ms),
      job.terms.min_quality, job.terms.max_plan, job.terms.best_effort ? 1 : 0, job.terms.upgrade ? 1 : 0,
      static_cast<std::int64_t>(bytes_of(job.spec)), static_cast<std::int64_t>(job.spec.questions.size()),
      job.spec.options.max_tokens, not_before_ms, intake.owner,
      schema::to_string(overflow_of(job.spec, limits.default_overflow)), document_of(job.spec));
  std::optional<JobId> id;
  while (insert.next()) id = insert.integer(0);
  if (!insert.status()) return insert.status().error();
  return id;
}

Status insert_payload(Database& db, JobId id, const JobRequest& job) {
  const schema::JobSpec& spec = job.spec;
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
  for (const std::string& label : job.labels) {
    if (status) status = db.run("INSERT OR IGNORE INTO job_labels (label, job_id) VALUES (?, ?)", label, id);
  }
  return status;
}

struct KnownJob {
  JobId id = 0;  // 0: there is none
  std::string model;
  bool can_run_again = false;  // it ended without a result
};

Result<KnownJob> find_by_key(Database& db, const std::string& owner, const std::string& key) {
  KnownJob known;
  Query query(db,
              "SELECT id, model, state IN ('failed', 'cancelled', 'expired') FROM jobs "
              "WHERE owner = ? AND owner_key = ?",
              owner, key);
  if (query.next()) known = {query.integer(0), query.text(1), query.integer(2) != 0};
  if (!query.status()) return query.status().error();
  return known;
}

// What makes a job that is submitted other work than one that is stored; how urgent they are does not.
std::string_view difference(const schema::JobSpec& a, const schema::JobSpec& b) {
  if (a.task != b.task) return "task";
  if (a.document != b.document) return "document";
  if (a.prompt != b.prompt) return "prompt";
  if (a.questions != b.questions) return "questions";
  const schema::SamplingOptions &x = a.options, &y = b.options;
  if (x.max_tokens != y.max_tokens || x.temperature != y.temperature || x.top_p != y.top_p ||
      x.seed != y.seed)
    return "options";
  // `b` is what is submitted: where it leaves this to the service, what the service chose then is meant.
  if (b.overflow && a.overflow != b.overflow) return "overflow";
  return "";
}

// kRefused where the first job of this key is another. One whose texts are lost counts as equal: who sent it
// again shall learn of it.
Status check_same(Database& db, const JobRequest& job, const KnownJob& known) {
  const Result<schema::JobSpec> spec = read_spec(db, known.id);
  if (!spec && spec.error().code == ErrorCode::kUnavailable) return spec.error();
  std::string_view what = spec ? difference(*spec, job.spec) : "";
  if (what.empty() && known.model != job.terms.model) what = "model";
  if (what.empty()) return ok_status();
  return Error{ErrorCode::kRefused,
               fmt::format("the idempotency key '{}' is that of job {}, whose {} is another; nothing of this "
                           "submit was taken: use another key{}",
                           job.idempotency_key, known.id, what,
                           job.custom_id.empty() ? "" : fmt::format(" for '{}'", job.custom_id))};
}

// A job of before there were owners that is submitted again becomes the submitter's. Where its content is
// another it stays as it is, and says nothing: it may be somebody else's.
Status adopt(Database& db, const JobRequest& job, const std::string& owner) {
  if (owner.empty() || job.idempotency_key.empty()) return ok_status();
  const Result<KnownJob> old = find_by_key(db, "", job.idempotency_key);
  if (!old) return old.error();
  if (old->id == 0) return ok_status();
  const Result<KnownJob> own = find_by_key(db, owner, job.idempotency_key);
  if (!own) return own.error();
  if (own->id != 0) return ok_status();
  const Result<schema::JobSpec> spec = read_spec(db, old->id);
  if (!spec) return spec.error().code == ErrorCode::kUnavailable ? Status(spec.error()) : ok_status();
  if (!difference(*spec, job.spec).empty() || old->model != job.terms.model) return ok_status();
  return db.run("UPDATE jobs SET owner = ? WHERE id = ?", owner, old->id);
}

// Of the jobs, those that the queue does not know by their keys: what is sent again needs no room.
struct Added {
  std::int64_t jobs = 0;
  std::int64_t bytes = 0;
};

Result<Added> count_new(Database& db, const std::vector<JobRequest>& jobs, const std::string& owner) {
  Added added;
  for (const JobRequest& job : jobs) {
    if (!job.idempotency_key.empty()) {
      if (Status status = adopt(db, job, owner); !status) return status.error();
      const Result<KnownJob> known = find_by_key(db, owner, job.idempotency_key);
      if (!known) return known.error();
      if (known->id != 0) continue;
    }
    ++added.jobs;
    added.bytes += static_cast<std::int64_t>(bytes_of(job.spec));
  }
  return added;
}

Status check_room(Database& db, const Added& added, const QueueLimits& limits) {
  Query query(db, "SELECT jobs, bytes FROM job_counts WHERE state = 'queued'");
  const bool found = query.next();
  const std::int64_t queued = found ? query.integer(0) : 0;
  const std::int64_t bytes = found ? query.integer(1) : 0;
  if (!query.status()) return query.status();
  if (added.jobs == 0) return ok_status();
  if (queued + added.jobs > limits.max_queued) {
    return Error{ErrorCode::kResourceExhausted,
                 fmt::format("{} jobs are queued and queue.max_queued is {}: submit again later", queued,
                             limits.max_queued)};
  }
  if (limits.max_queued_bytes > 0 && bytes + added.bytes > limits.max_queued_bytes) {
    return Error{
        ErrorCode::kResourceExhausted,
        fmt::format("texts of {} bytes are queued and queue.max_queued_bytes is {}: submit again later",
                    bytes, limits.max_queued_bytes)};
  }
  return ok_status();
}

// True where it waits again.
Result<bool> requeue_one(Database& db, JobId id, std::int64_t now_ms, const Scope& scope) {
  Query query(
      db,
      "UPDATE jobs SET state = 'queued', failed_attempts = 0, error_code = NULL, error_message = NULL, "
      "ended_ms = NULL, expires_ms = NULL, not_before_ms = NULL, suspect = 0, "
      "deadline_ms = iif(deadline_ms > ?2, deadline_ms, NULL), "
      "due_ms = iif(deadline_ms > ?2, deadline_ms, ?3) "
      "WHERE id = ?1 AND rerun_of IS NULL AND state IN ('failed', 'cancelled', 'expired') AND "
      "(?4 IS NULL OR owner = ?4) RETURNING id",
      id, now_ms, due_ms(0, now_ms), scope.bound());
  bool changed = false;
  while (query.next()) changed = true;
  if (!query.status()) return query.status().error();
  return changed;
}

// A job whose key is known.
Result<JobId> meet_again(Database& db, const JobRequest& job, bool retry_failed, const Intake& intake,
                         Enqueued& enqueued) {
  const Result<KnownJob> known = find_by_key(db, intake.owner, job.idempotency_key);
  if (!known) return known.error();
  if (known->id == 0)
    return Error{ErrorCode::kInternal,
                 fmt::format("no job has the idempotency key '{}'", job.idempotency_key)};
  if (Status status = check_same(db, job, *known); !status) return status.error();
  if (!retry_failed || !known->can_run_again) return known->id;
  const Result<bool> changed = requeue_one(db, known->id, intake.now_ms, {});
  if (!changed) return changed.error();
  if (*changed) enqueued.requeued.push_back(known->id);
  return known->id;
}

}  // namespace

schema::Overflow overflow_of(const schema::JobSpec& spec, schema::Overflow by_default) {
  return spec.task == schema::Task::kGenerate ? schema::Overflow::kError : spec.overflow.value_or(by_default);
}

std::int64_t due_ms(std::uint64_t deadline_in_ms, std::int64_t now_ms) {
  return *after(deadline_in_ms > 0 ? deadline_in_ms : kDueWithoutDeadlineMs, now_ms);
}

std::size_t bytes_of(const schema::JobSpec& spec) {
  std::size_t bytes = spec.document.size() + spec.prompt.size();
  for (const std::string& question : spec.questions) bytes += question.size();
  return bytes;
}

Result<Enqueued> enqueue(Database& db, const schema::Submit& submit, const QueueLimits& limits,
                         const Intake& intake) {
  const std::vector<JobRequest>& jobs = submit.jobs;
  const Result<Added> added = count_new(db, jobs, intake.owner);
  if (!added) return added.error();
  if (Status status = check_room(db, *added, limits); !status) return status.error();
  Enqueued enqueued;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const JobRequest& job = jobs[i];
    const auto in_batch = [&](const Error& error) {
      return jobs.size() == 1 ? error : error.with_context(fmt::format("jobs[{}]", i));
    };
    const std::int64_t delay_ms = i < intake.delay_ms.size() ? intake.delay_ms[i] : 0;
    const Result<std::optional<JobId>> inserted =
        insert_job(db, job, submit.client, limits, intake, delay_ms);
    if (!inserted) return inserted.error();
    if (*inserted && i < intake.refused.size() && intake.refused[i]) return in_batch(*intake.refused[i]);
    if (*inserted) {
      if (Status status = insert_payload(db, **inserted, job); !status) return status.error();
    }
    const Result<JobId> id =
        *inserted ? Result<JobId>(**inserted) : meet_again(db, job, submit.retry_failed, intake, enqueued);
    if (!id) return in_batch(id.error());
    enqueued.reply.ids.push_back(*id);
    enqueued.reply.duplicates.push_back(!inserted->has_value());
  }
  return enqueued;
}

Result<RequeueOutcome> requeue(Database& db, const std::vector<JobId>& ids, const QueueLimits& limits,
                               std::int64_t now_ms, const Scope& scope) {
  RequeueOutcome outcome;
  if (Status status = check_room(db, {static_cast<std::int64_t>(ids.size()), 0}, limits); !status)
    return status.error();
  for (const JobId id : ids) {
    const Result<bool> changed = requeue_one(db, id, now_ms, scope);
    if (!changed) return changed.error();
    if (*changed) {
      outcome.requeued.push_back(id);
      continue;
    }
    const Result<schema::JobInfo> info = read_info(db, id, scope);
    if (!info && info.error().code != ErrorCode::kNotFound) return info.error();
    if (!info) outcome.not_found.push_back(id);
  }
  return outcome;
}

}  // namespace dslad::daemon
