#include "daemon/store/reruns.h"

#include <string>

#include "base/share.h"
#include "daemon/store/agreement.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/transitions.h"

namespace dslad::daemon {
namespace {

using schema::JobId;

// What is known of a job that has been answered.
struct Answered {
  bool upgrade = false;
  bool greedy = false;
  std::int64_t plan = 0;
  std::string model_digest;
};

Result<std::optional<Answered>> read_answered(Database& db, JobId job) {
  std::optional<Answered> answered;
  Query query(db,
              "SELECT j.upgrade, i.temperature, a.plan, a.model_digest FROM jobs j "
              "JOIN job_inputs i ON i.job_id = j.id "
              "JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt WHERE j.id = ?",
              job);
  while (query.next())
    answered = Answered{query.integer(0) != 0, query.real(1) == 0.0, query.integer(2), query.text(3)};
  if (!query.status()) return query.status().error();
  return answered;
}

// A rerun that was given back, or one of a job that wants it.
Result<std::optional<JobId>> next_rerun(Database& db, const Claimant& claimant, std::int64_t now_ms) {
  std::optional<JobId> next;
  const std::string plans = text_of(claimant.plans);
  Query waiting(db,
                "SELECT id FROM jobs WHERE state = 'queued' AND rerun_of IS NOT NULL AND model = ? AND "
                "needs_context <= ? AND (?3 = 0 OR (needs_cache_bytes <= ?3 AND " DSLAD_HAS_ROOM(
                    "?4", "?3") ")) ORDER BY id LIMIT 1",
                claimant.model_digest, claimant.context, static_cast<std::int64_t>(claimant.cache_bytes),
                plans);
  while (waiting.next()) next = waiting.integer(0);
  if (!waiting.status()) return waiting.status().error();
  if (next) return next;
  std::optional<JobId> job;
  std::string purpose;
  Query wanted(db,
               "SELECT id, rerun_wanted FROM jobs WHERE rerun_wanted IS NOT NULL AND rerun_model = ? "
               "ORDER BY rerun_wanted DESC, id LIMIT 1",
               claimant.model_digest);
  while (wanted.next()) {
    job = wanted.integer(0);
    purpose = wanted.text(1);
  }
  if (!wanted.status()) return wanted.status().error();
  if (!job) return next;
  Query insert(
      db,
      "INSERT INTO jobs (task, priority, max_attempts, created_ms, model, due_ms, max_plan, bytes, "
      "questions, max_tokens, rerun_of, owner, overflow) "
      "SELECT task, priority, max_attempts, ?2, rerun_model, ?2, 0, bytes, questions, max_tokens, id, owner, "
      "overflow "
      "FROM jobs WHERE id = ?1 RETURNING id",
      *job, now_ms);
  while (insert.next()) next = insert.integer(0);
  if (!insert.status()) return insert.status().error();
  Status status = db.run(
      "INSERT INTO reruns (rerun_id, purpose, model_digest, edition, plan) "
      "SELECT ?1, ?2, a.model_digest, coalesce(a.edition, ''), a.plan FROM jobs j "
      "JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt WHERE j.id = ?3",
      *next, purpose, *job);
  if (status) status = db.run("UPDATE jobs SET rerun_wanted = NULL, rerun_model = NULL WHERE id = ?", *job);
  if (!status) return status.error();
  return next;
}

Result<QueuedJob> read_size(Database& db, JobId rerun) {
  QueuedJob job;
  job.id = rerun;
  job.rerun = true;
  job.max_plan = 0;
  Query query(
      db, "SELECT bytes, questions, max_tokens, model, needs_context, needs_tokens FROM jobs WHERE id = ?",
      rerun);
  while (query.next()) {
    job.bytes = static_cast<std::uint64_t>(query.integer(0));
    job.questions = static_cast<std::uint32_t>(query.integer(1));
    job.max_tokens = static_cast<std::uint32_t>(query.integer(2));
    job.model = query.text(3);
    job.needs_context = static_cast<std::uint32_t>(query.integer(4));
    job.needs_tokens = static_cast<std::uint64_t>(query.integer(5));
  }
  if (!query.status()) return query.status().error();
  return job;
}

Result<JobId> repeated_job(Database& db, JobId rerun) {
  Query query(db, "SELECT rerun_of FROM jobs WHERE id = ?", rerun);
  const JobId job = query.next() ? query.integer(0) : 0;
  if (!query.status()) return query.status().error();
  return job;
}

// The mean over the job's answers; nothing where they were drawn at random.
Result<std::optional<double>> compare(Database& db, JobId rerun) {
  Query query(db,
              "SELECT first.text, second.text, i.temperature FROM jobs j "
              "JOIN job_inputs i ON i.job_id = j.rerun_of "
              "JOIN job_outputs second ON second.job_id = j.id "
              "JOIN job_outputs first ON first.job_id = j.rerun_of AND first.number = second.number "
              "WHERE j.id = ?",
              rerun);
  double sum = 0;
  int answers = 0;
  bool greedy = true;
  while (query.next()) {
    sum += agreement(query.text(0), query.text(1));
    ++answers;
    greedy = query.real(2) == 0.0;
  }
  if (!query.status()) return query.status().error();
  if (!greedy || answers == 0) return std::optional<double>();
  return std::optional<double>(sum / answers);
}

}  // namespace

Status want_rerun(Database& db, JobId job, double canary_share) {
  const Result<std::optional<Answered>> answered = read_answered(db, job);
  if (!answered) return answered.error();
  if (!*answered || (*answered)->plan == 0) return ok_status();
  const bool canary = (*answered)->greedy && share_of(job) < canary_share;
  if (!(*answered)->upgrade && !canary) return ok_status();
  return db.run("UPDATE jobs SET rerun_wanted = ?, rerun_model = ? WHERE id = ?",
                (*answered)->upgrade ? "upgrade" : "canary", (*answered)->model_digest, job);
}

Result<std::optional<Claimed>> claim_rerun(Database& db, const Claimant& claimant, std::int64_t now_ms,
                                           std::optional<Unreadable>* damaged) {
  const Result<std::optional<JobId>> next = next_rerun(db, claimant, now_ms);
  if (!next) return next.error();
  if (!*next) return std::optional<Claimed>();
  PlanChoice choice{0, "run again on plan 0: nothing else was to be done"};
  Result<schema::JobSpec> spec = read_spec(db, **next);
  if (!spec && spec.error().code == ErrorCode::kUnavailable) return spec.error();
  if (!spec && spec.error().code == ErrorCode::kCorrupt) {
    const Result<JobId> repeated = repeated_job(db, **next);
    if (repeated && damaged != nullptr) *damaged = Unreadable{*repeated, spec.error()};
    return spec.error();
  }
  if (!spec) {  // nobody waits for it: it just ends
    const Status ended = move_job(db, **next, {schema::JobState::kFailed, false, spec.error()}, now_ms);
    return ended ? Result<std::optional<Claimed>>(std::nullopt) : ended.error();
  }
  Claimant at_once = claimant;
  at_once.tells_begun = false;  // nobody looks
  const Result<schema::Lease> lease = open_lease(db, **next, at_once, choice, now_ms);
  if (!lease) return lease.error();
  Result<QueuedJob> job = read_size(db, **next);
  if (!job) return job.error();
  return std::optional<Claimed>(
      Claimed{*lease, std::move(spec).value(), std::move(job).value(), std::move(choice)});
}

Status end_rerun(Database& db, JobId rerun, std::int64_t now_ms) {
  const Result<std::optional<double>> agreed = compare(db, rerun);
  if (!agreed) return agreed.error();
  return db.run("UPDATE reruns SET agreement = ?, ended_ms = ? WHERE rerun_id = ?", *agreed, now_ms, rerun);
}

Result<std::vector<schema::PlanAgreement>> plan_agreements(Database& db, std::uint32_t jobs) {
  std::vector<schema::PlanAgreement> agreements;
  Query query(
      db,
      "SELECT m.name, r.model_digest, r.edition, r.plan, count(*), avg(r.agreement) FROM "
      "(SELECT *, row_number() OVER (PARTITION BY model_digest, edition, plan ORDER BY rerun_id DESC) "
      "AS age FROM reruns WHERE agreement IS NOT NULL) r "
      "LEFT JOIN models m ON m.digest = r.model_digest WHERE r.age <= ? "
      "GROUP BY r.model_digest, r.edition, r.plan ORDER BY r.model_digest, r.edition, r.plan",
      jobs);
  while (query.next()) {
    schema::PlanAgreement& one = agreements.emplace_back();
    one.model = query.text(0);
    one.model_digest = query.text(1);
    one.edition = query.text(2);
    one.plan = static_cast<std::uint32_t>(query.integer(3));
    one.jobs = static_cast<std::uint64_t>(query.integer(4));
    one.agreement = query.real(5);
  }
  if (!query.status()) return query.status().error();
  return agreements;
}

}  // namespace dslad::daemon
