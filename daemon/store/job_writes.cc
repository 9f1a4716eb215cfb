#include "daemon/store/job_writes.h"

#include <fmt/format.h>

#include "daemon/store/job_reads.h"
#include "daemon/store/reruns.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

// How often a job was tried, while `lease` is good; nothing once it is not.
struct Tries {
  std::int64_t failed = 0;
  std::int64_t allowed = 0;
  bool plan_0_only = false;
  bool rerun = false;
};

Result<std::optional<Tries>> check_lease(Database& db, const Lease& lease) {
  Query query(db,
              "SELECT failed_attempts, max_attempts, max_plan IS 0, rerun_of IS NOT NULL FROM jobs "
              "WHERE id = ? AND attempt = ? AND state = 'running'",
              lease.job, lease.attempt);
  std::optional<Tries> tries;
  while (query.next()) {
    tries = Tries{query.integer(0), query.integer(1), query.integer(2) != 0, query.integer(3) != 0};
  }
  if (!query.status()) return query.status().error();
  return tries;
}

Status end_attempt(Database& db, const Lease& lease, std::string_view outcome,
                   const std::optional<Error>& error, std::int64_t now_ms) {
  std::optional<std::string_view> code;
  std::optional<std::string> message;
  if (error) {
    code = to_string(error->code);
    message = error->message;
  }
  return db.run(
      "UPDATE attempts SET outcome = ?, error_code = ?, error_message = ?, ended_ms = ? "
      "WHERE job_id = ? AND attempt = ?",
      outcome, code, message, now_ms, lease.job, lease.attempt);
}

// Moves the job on; its error columns show the latest attempt's error and are empty after a success.
Status set_state(Database& db, JobId id, JobState state, bool failed_attempt,
                 const std::optional<Error>& error, std::int64_t now_ms) {
  std::optional<std::string_view> code;
  std::optional<std::string> message;
  std::optional<std::int64_t> ended_ms;
  if (error) {
    code = to_string(error->code);
    message = error->message;
  }
  if (schema::is_final(state)) ended_ms = now_ms;
  return db.run(
      "UPDATE jobs SET state = ?, failed_attempts = failed_attempts + ?, error_code = ?, error_message = ?, "
      "ended_ms = ? WHERE id = ?",
      schema::to_string(state), failed_attempt ? 1 : 0, code, message, ended_ms, id);
}

// Running the job again gives the same error.
bool is_lasting(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kNotFound || code == ErrorCode::kRefused ||
         code == ErrorCode::kResourceExhausted;
}

Status save_metrics(Database& db, const schema::WorkerResult& result) {
  const schema::JobMetrics& metrics = result.metrics;
  return db.run(
      "UPDATE attempts SET prefill_ms = ?, decode_ms = ?, prompt_tokens = ?, output_tokens = ?, plan = ?, "
      "edition = nullif(?, ''), quality = ?, prefill_work_ms = ?, decode_work_ms = ?, batch = ? "
      "WHERE job_id = ? AND attempt = ?",
      metrics.prefill_ms, metrics.decode_ms, static_cast<std::int64_t>(metrics.prompt_tokens),
      static_cast<std::int64_t>(metrics.output_tokens), metrics.plan, metrics.edition, metrics.quality,
      metrics.prefill_work_ms, metrics.decode_work_ms, metrics.batch, result.lease.job, result.lease.attempt);
}

Status save_outputs(Database& db, const schema::WorkerResult& result) {
  Status status = ok_status();
  for (std::size_t i = 0; status && i < result.outputs.size(); ++i) {
    const schema::Output& output = result.outputs[i];
    status = db.run(
        "INSERT INTO job_outputs (job_id, number, text, finish_reason, output_tokens) VALUES (?, ?, ?, ?, ?)",
        result.lease.job, static_cast<std::int64_t>(i), output.text, schema::to_string(output.finish_reason),
        output.output_tokens);
  }
  return status;
}

// One, or one a question.
Result<std::int64_t> answers_wanted(Database& db, JobId id) {
  Query query(db,
              "SELECT max(1, count(*)) FROM job_questions "
              "WHERE job_id = (SELECT coalesce(rerun_of, id) FROM jobs WHERE id = ?)",
              id);
  const std::int64_t wanted = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return wanted;
}

Result<Outcome> fail_attempt(Database& db, const Lease& lease, const Tries& tries, std::string_view outcome,
                             const Error& error, std::int64_t now_ms) {
  const bool last = is_lasting(error.code) || tries.failed + 1 >= tries.allowed;
  const JobState state = last ? JobState::kFailed : JobState::kQueued;
  Status status = end_attempt(db, lease, outcome, error, now_ms);
  if (status) status = set_state(db, lease.job, state, true, error, now_ms);
  if (!status) return status.error();
  return Outcome{true, state, error, tries.rerun};
}

Status end_job(Database& db, const Ended& ended, JobState state, const Error& error, std::int64_t now_ms) {
  Status status = set_state(db, ended.id, state, false, error, now_ms);
  if (status && ended.lease) status = end_attempt(db, *ended.lease, schema::to_string(state), error, now_ms);
  return status;
}

std::optional<Lease> lease_if(bool running, JobId id, std::int64_t attempt) {
  if (!running) return std::nullopt;
  return Lease{id, static_cast<std::uint32_t>(attempt)};
}

// The job waits again, without a failed attempt, for a worker that is larger than the one that refused it.
Result<Outcome> wait_for_larger(Database& db, const schema::WorkerResult& result, const Tries& tries,
                                std::int64_t now_ms) {
  Status status = end_attempt(db, result.lease, "given_back", result.error, now_ms);
  if (status) {
    status = db.run(
        "UPDATE jobs SET needs_context = max(needs_context, ?), needs_cache_bytes = max(needs_cache_bytes, "
        "?) "
        "WHERE id = ?",
        result.needs_context, static_cast<std::int64_t>(result.needs_cache_bytes), result.lease.job);
  }
  if (status) status = set_state(db, result.lease.job, JobState::kQueued, false, result.error, now_ms);
  if (!status) return status.error();
  return Outcome{true, JobState::kQueued, result.error, tries.rerun};
}

bool failed_by_its_plan(const schema::WorkerResult& result, const Tries& tries) {
  return result.error && result.error->code == ErrorCode::kCorrupt && result.metrics.plan > 0 &&
         !tries.plan_0_only;
}

// The job waits again, without a failed attempt, for plan 0. Once at most: its terms allow no other from now
// on.
Result<Outcome> wait_for_plan_0(Database& db, const schema::WorkerResult& result, const Tries& tries,
                                std::int64_t now_ms) {
  Status status = end_attempt(db, result.lease, "failed", result.error, now_ms);
  if (status) status = db.run("UPDATE jobs SET max_plan = 0 WHERE id = ?", result.lease.job);
  if (status) status = set_state(db, result.lease.job, JobState::kQueued, false, result.error, now_ms);
  if (!status) return status.error();
  return Outcome{true, JobState::kQueued, result.error, tries.rerun};
}

}  // namespace

Result<Lease> open_lease(Database& db, JobId id, const Claimant& claimant, const PlanChoice& choice,
                         std::int64_t now_ms) {
  std::optional<std::string_view> why;
  if (!choice.why.empty()) why = choice.why;
  Lease lease{id, 0};
  Query update(db, "UPDATE jobs SET state = 'running', attempt = attempt + 1 WHERE id = ? RETURNING attempt",
               id);
  while (update.next()) lease.attempt = static_cast<std::uint32_t>(update.integer(0));
  if (!update.status()) return update.status().error();
  Status status = db.run(
      "INSERT INTO attempts (job_id, attempt, worker, instance, started_ms, model, model_digest, "
      "assigned_plan, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      id, lease.attempt, claimant.worker.name, claimant.worker.instance, now_ms, claimant.model,
      claimant.model_digest, choice.plan, why);
  if (!status) return status.error();
  return lease;
}

Result<std::vector<Claimed>> claim(Database& db, const Claimant& claimant, std::uint32_t count,
                                   std::int64_t now_ms, const ChoosePlan& choose) {
  Result<std::vector<QueuedJob>> jobs = next_jobs(
      db, {claimant.model, claimant.model_digest, claimant.context, claimant.cache_bytes}, count, now_ms);
  if (!jobs) return jobs.error();
  std::vector<Claimed> claimed;
  for (QueuedJob& job : *jobs) {
    PlanChoice choice = choose ? choose(job) : PlanChoice{};
    const Result<Lease> lease = open_lease(db, job.id, claimant, choice, now_ms);
    if (!lease) return lease.error();
    Result<schema::JobSpec> spec = read_spec(db, job.id);
    if (!spec) return spec.error();
    claimed.push_back({*lease, std::move(spec).value(), std::move(job), std::move(choice)});
  }
  return claimed;
}

Result<Outcome> finish(Database& db, const schema::WorkerResult& result, std::int64_t now_ms,
                       const FinishRules& rules) {
  const Result<std::optional<Tries>> tries = check_lease(db, result.lease);
  if (!tries) return tries.error();
  if (!*tries) return Outcome{};
  if (Status status = save_metrics(db, result); !status) return status.error();
  if (result.error && rules.fits_elsewhere) return wait_for_larger(db, result, **tries, now_ms);
  if (failed_by_its_plan(result, **tries)) return wait_for_plan_0(db, result, **tries, now_ms);
  if (result.error) return fail_attempt(db, result.lease, **tries, "failed", *result.error, now_ms);
  const Result<std::int64_t> wanted = answers_wanted(db, result.lease.job);
  if (!wanted) return wanted.error();
  if (static_cast<std::int64_t>(result.outputs.size()) != *wanted) {
    const Error error{ErrorCode::kInternal, fmt::format("the worker gave {} answers where {} were asked for",
                                                        result.outputs.size(), *wanted)};
    return fail_attempt(db, result.lease, **tries, "failed", error, now_ms);
  }
  Status status = save_outputs(db, result);
  if (status) status = end_attempt(db, result.lease, "succeeded", std::nullopt, now_ms);
  if (status) status = set_state(db, result.lease.job, JobState::kSucceeded, false, std::nullopt, now_ms);
  if (status) {
    status = (*tries)->rerun ? end_rerun(db, result.lease.job, now_ms)
                             : want_rerun(db, result.lease.job, rules.canary_share);
  }
  if (!status) return status.error();
  return Outcome{true, JobState::kSucceeded, std::nullopt, (*tries)->rerun};
}

Result<Outcome> release(Database& db, const Lease& lease, LeaseEnd end, const std::string& why,
                        std::int64_t now_ms) {
  const Result<std::optional<Tries>> tries = check_lease(db, lease);
  if (!tries) return tries.error();
  if (!*tries) return Outcome{};
  const Error error{ErrorCode::kUnavailable, why};
  if (end == LeaseEnd::kLost) return fail_attempt(db, lease, **tries, "lost", error, now_ms);
  Status status = end_attempt(db, lease, "given_back", error, now_ms);
  if (status) status = set_state(db, lease.job, JobState::kQueued, false, std::nullopt, now_ms);
  if (!status) return status.error();
  return Outcome{true, JobState::kQueued, std::nullopt, (*tries)->rerun};
}

Result<CancelOutcome> cancel(Database& db, const std::vector<JobId>& ids, std::int64_t now_ms) {
  CancelOutcome outcome;
  for (const JobId id : ids) {
    Query query(db, "SELECT state, attempt FROM jobs WHERE id = ? AND rerun_of IS NULL", id);
    if (!query.next()) {
      if (!query.status()) return query.status().error();
      outcome.not_found.push_back(id);
      continue;
    }
    const std::string state = query.text(0);
    const bool running = state == "running";
    if (!running && state != "queued") continue;
    const Ended ended{id, lease_if(running, id, query.integer(1))};
    const Error error{ErrorCode::kRefused, "cancelled by a client"};
    if (Status status = end_job(db, ended, JobState::kCancelled, error, now_ms); !status)
      return status.error();
    outcome.cancelled.push_back(ended);
  }
  return outcome;
}

Status shift_open_jobs(Database& db, std::int64_t by_ms) {
  Status status = db.run(
      "UPDATE attempts SET started_ms = started_ms + ? WHERE (job_id, attempt) IN "
      "(SELECT id, attempt FROM jobs WHERE state = 'running')",
      by_ms);
  if (!status) return status;
  return db.run(
      "UPDATE jobs SET created_ms = created_ms + ?1, due_ms = due_ms + ?1, deadline_ms = deadline_ms + ?1, "
      "expires_ms = expires_ms + ?1 WHERE state IN ('queued', 'running')",
      by_ms);
}

Result<std::vector<Ended>> expire(Database& db, std::int64_t now_ms) {
  std::vector<Ended> expired;
  {
    Query query(db,
                "SELECT id, state, attempt FROM jobs WHERE expires_ms IS NOT NULL AND expires_ms <= ? "
                "AND state IN ('queued', 'running') LIMIT 1000",
                now_ms);
    while (query.next()) {
      const JobId id = query.integer(0);
      expired.push_back({id, lease_if(query.text(1) == "running", id, query.integer(2))});
    }
    if (!query.status()) return query.status().error();
  }
  for (const Ended& ended : expired) {
    const Error error{ErrorCode::kUnavailable, "had not ended by its deadline"};
    if (Status status = end_job(db, ended, JobState::kExpired, error, now_ms); !status) return status.error();
  }
  return expired;
}

}  // namespace dslad::daemon
