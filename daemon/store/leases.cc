#include "daemon/store/leases.h"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include "base/share.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/reruns.h"
#include "daemon/store/transitions.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

// What a document is worth that the worker knows: jobs on others wait so much longer, and no more of them are
// looked at.
constexpr std::int64_t kKnownDocumentMs = 10'000;
constexpr std::uint32_t kLooksAhead = 16;

constexpr std::size_t kMaxClaimBytes = std::size_t{32} << 20;  // of the texts that one claim holds in memory

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
              "WHERE id = ? AND attempt = ? AND (state = 'running' OR (state = 'queued' AND " DSLAD_LEASED
              "))",
              lease.job, lease.attempt);
  std::optional<Tries> tries;
  while (query.next()) {
    tries = Tries{query.integer(0), query.integer(1), query.integer(2) != 0, query.integer(3) != 0};
  }
  if (!query.status()) return query.status().error();
  return tries;
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
      "edition = nullif(?, ''), quality = ?, prefill_work_ms = ?, decode_work_ms = ?, batch = ?, "
      "parts = ?, cut_tokens = ?, reused_tokens = ? "
      "WHERE job_id = ? AND attempt = ?",
      metrics.prefill_ms, metrics.decode_ms, static_cast<std::int64_t>(metrics.prompt_tokens),
      static_cast<std::int64_t>(metrics.output_tokens), metrics.plan, metrics.edition, metrics.quality,
      metrics.prefill_work_ms, metrics.decode_work_ms, metrics.batch, metrics.parts,
      static_cast<std::int64_t>(metrics.cut_tokens), static_cast<std::int64_t>(metrics.reused_tokens),
      result.lease.job, result.lease.attempt);
}

Status save_outputs(Database& db, const schema::WorkerResult& result) {
  Status status = ok_status();
  for (std::size_t i = 0; status && i < result.outputs.size(); ++i) {
    const schema::Output& output = result.outputs[i];
    status = db.run(
        "INSERT INTO job_outputs (job_id, number, text, finish_reason, output_tokens, part) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        result.lease.job, static_cast<std::int64_t>(i), output.text, schema::to_string(output.finish_reason),
        output.output_tokens, output.part);
  }
  return status;
}

// A worker tells that a job has begun after the first step with some of it, and its result how long all steps
// took.
Status set_start_back(Database& db, const schema::WorkerResult& result, std::int64_t now_ms) {
  const double spent_ms = result.metrics.prefill_ms + result.metrics.decode_ms;
  return db.run(
      "UPDATE attempts SET started_ms = min(started_ms, max(?1 - CAST(round(min(?2, ?1)) AS INTEGER), "
      "(SELECT created_ms FROM jobs WHERE id = ?3))) WHERE job_id = ?3 AND attempt = ?4",
      now_ms, spent_ms, result.lease.job, result.lease.attempt);
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

// Ends the attempt and moves the job on.
Result<Outcome> end_lease(Database& db, const Lease& lease, const Tries& tries, std::string_view outcome,
                          const std::optional<Error>& attempt_error, const Move& move, std::int64_t now_ms) {
  Status status = end_attempt(db, lease, outcome, attempt_error, now_ms);
  if (status) status = move_job(db, lease.job, move, now_ms);
  if (!status) return status.error();
  return Outcome{true, move.state, move.error, tries.rerun};
}

Result<Outcome> fail_attempt(Database& db, const Lease& lease, const Tries& tries, std::string_view outcome,
                             const Error& error, const RetryRules& retry, std::int64_t now_ms) {
  Move move{JobState::kFailed, true, error};
  if (!is_lasting(error.code) && tries.failed + 1 < tries.allowed) {
    move.state = JobState::kQueued;
    if (const std::int64_t delay_ms = retry_delay_ms(retry, lease, tries.failed + 1); delay_ms > 0)
      move.not_before_ms = now_ms + delay_ms;
  }
  return end_lease(db, lease, tries, outcome, error, move, now_ms);
}

// The job waits again, without a failed attempt, for a worker or a plan that has more room than the one that
// refused it. Tokens say more than bytes, which are those of one plan.
Result<Outcome> wait_for_room(Database& db, const schema::WorkerResult& result, std::uint64_t needs_tokens,
                              const Tries& tries, std::int64_t now_ms) {
  const std::uint64_t needs_bytes = needs_tokens > 0 ? 0 : result.needs_cache_bytes;
  const Status status = db.run(
      "UPDATE jobs SET needs_context = max(needs_context, ?), needs_cache_bytes = max(needs_cache_bytes, ?), "
      "needs_tokens = max(needs_tokens, ?) WHERE id = ?",
      result.needs_context, static_cast<std::int64_t>(needs_bytes), static_cast<std::int64_t>(needs_tokens),
      result.lease.job);
  if (!status) return status.error();
  const Move move{JobState::kQueued, false, result.error};
  return end_lease(db, result.lease, tries, "given_back", result.error, move, now_ms);
}

bool failed_by_its_plan(const schema::WorkerResult& result, const Tries& tries) {
  return result.error && result.error->code == ErrorCode::kCorrupt && result.metrics.plan > 0 &&
         !tries.plan_0_only;
}

// The job waits again, without a failed attempt, for plan 0. Once at most: its terms allow no other from now
// on.
Result<Outcome> wait_for_plan_0(Database& db, const schema::WorkerResult& result, const Tries& tries,
                                std::int64_t now_ms) {
  if (Status status = db.run("UPDATE jobs SET max_plan = 0 WHERE id = ?", result.lease.job); !status)
    return status.error();
  const Move move{JobState::kQueued, false, result.error};
  return end_lease(db, result.lease, tries, "failed", result.error, move, now_ms);
}

// Reads the job's texts and leases it; where they cannot be read, the job fails and nobody else is held up.
Status claim_one(Database& db, QueuedJob job, const Claimant& claimant, PlanChoice choice,
                 std::int64_t now_ms, Claim& claim, std::optional<Unreadable>* damaged) {
  Result<schema::JobSpec> spec = read_spec(db, job.id);
  if (!spec) {
    if (spec.error().code == ErrorCode::kUnavailable) return spec.error();
    const Error error{ErrorCode::kCorrupt,
                      fmt::format("its texts cannot be read from the database: {}", spec.error().message)};
    if (spec.error().code == ErrorCode::kCorrupt) {
      if (damaged != nullptr) *damaged = Unreadable{job.id, error};
      return error.with_context(fmt::format("job {}", job.id));
    }
    claim.unreadable.push_back({job.id, error});
    return move_job(db, job.id, {JobState::kFailed, false, error}, now_ms);
  }
  const Result<Lease> lease = open_lease(db, job.id, claimant, choice, now_ms);
  if (!lease) return lease.error();
  claim.jobs.push_back({*lease, std::move(spec).value(), std::move(job), std::move(choice)});
  return ok_status();
}

// Puts jobs on documents that the worker knows before others whose turn is not much earlier; what has a
// deadline is done in its time. A suspect stays where it is, and so does what is behind it.
void prefer_known(std::vector<QueuedJob>& jobs, const std::vector<std::int64_t>& documents) {
  const auto suspect = std::ranges::find(jobs, true, &QueuedJob::suspect);
  const auto turn = [&](const QueuedJob& job) {
    const bool known = job.document != 0 && !job.deadline_ms &&
                       std::ranges::find(documents, job.document) != documents.end();
    return std::pair(-std::int64_t{job.priority}, job.due_ms - (known ? kKnownDocumentMs : 0));
  };
  std::ranges::stable_sort(jobs.begin(), suspect, {}, turn);
}

// The next jobs that a worker is to have.
struct Picked {
  struct One {
    QueuedJob job;
    PlanChoice choice;
  };
  std::vector<One> jobs;
  bool left_some = false;
};

// Up to `count` of `jobs`; those that it would rather not only where they are `all`. Nothing where more must
// be read to tell.
std::optional<Picked> pick_of(std::vector<QueuedJob> jobs, std::uint32_t count, const ChoosePlan& choose,
                              bool all) {
  Picked picked;
  std::vector<Picked::One> last;
  for (QueuedJob& job : jobs) {
    if (picked.jobs.size() == count) return picked;
    PlanChoice choice = choose ? choose(job) : PlanChoice{};
    picked.left_some = picked.left_some || choice.taking == Taking::kNo;
    if (choice.taking == Taking::kYes) picked.jobs.push_back({std::move(job), std::move(choice)});
    if (choice.taking == Taking::kLast) last.push_back({std::move(job), std::move(choice)});
  }
  if (picked.jobs.size() < count && !all) return std::nullopt;
  for (Picked::One& one : last) {
    if (picked.jobs.size() < count) picked.jobs.push_back(std::move(one));
  }
  return picked;
}

// As a rule the queue's head is read once: what is left to others there is few. Else more and more of it, but
// no more than a decision lays out, and what came since.
Result<Picked> pick(Database& db, const Claimant& claimant, std::uint32_t count, std::int64_t now_ms,
                    const ChoosePlan& choose) {
  constexpr std::uint32_t kFurther = 8, kFurthest = 2'000;
  const ServedBy by{claimant.model, claimant.model_digest, claimant.context, claimant.cache_bytes,
                    claimant.plans};
  for (std::uint32_t limit = count + (claimant.documents.empty() ? 0 : kLooksAhead);;
       limit = std::min(kFurther * limit, kFurthest)) {
    Result<std::vector<QueuedJob>> jobs = next_jobs(db, by, limit, now_ms);
    if (!jobs) return jobs.error();
    const bool all = jobs->size() < limit || limit >= kFurthest;
    prefer_known(*jobs, claimant.documents);
    if (std::optional<Picked> picked = pick_of(std::move(*jobs), count, choose, all); picked)
      return std::move(*picked);
  }
}

}  // namespace

std::int64_t retry_delay_ms(const RetryRules& rules, const Lease& lease, std::int64_t failed_attempts) {
  if (rules.first_ms <= 0) return 0;
  const std::int64_t doublings = std::clamp<std::int64_t>(failed_attempts - 1, 0, 40);
  const double whole = std::min(static_cast<double>(rules.first_ms) * static_cast<double>(1LL << doublings),
                                static_cast<double>(std::max(rules.first_ms, rules.most_ms)));
  return static_cast<std::int64_t>(whole *
                                   (0.5 + 0.5 * share_of(lease.job ^ (std::int64_t{lease.attempt} << 40))));
}

Result<Lease> open_lease(Database& db, JobId id, const Claimant& claimant, const PlanChoice& choice,
                         std::int64_t now_ms) {
  std::optional<std::string_view> why;
  if (!choice.why.empty()) why = choice.why;
  Lease lease{id, 0};
  const JobState state = claimant.tells_begun ? JobState::kQueued : JobState::kRunning;
  Query update(db, "UPDATE jobs SET state = ?, attempt = attempt + 1 WHERE id = ? RETURNING attempt",
               schema::to_string(state), id);
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

Result<std::vector<Lease>> begin(Database& db, const std::vector<Lease>& leases, std::int64_t now_ms) {
  std::vector<Lease> begun;
  for (const Lease& lease : leases) {
    bool changed = false;
    Query update(db,
                 "UPDATE jobs SET state = 'running' WHERE id = ? AND attempt = ? AND state = 'queued' "
                 "AND " DSLAD_LEASED " RETURNING id",
                 lease.job, lease.attempt);
    while (update.next()) changed = true;
    if (!update.status()) return update.status().error();
    if (!changed) continue;  // it has ended, or had begun before
    if (Status status = db.run("UPDATE attempts SET started_ms = ? WHERE job_id = ? AND attempt = ?", now_ms,
                               lease.job, lease.attempt);
        !status)
      return status.error();
    begun.push_back(lease);
  }
  return begun;
}

Result<Claim> claim(Database& db, const Claimant& claimant, std::uint32_t count, std::int64_t now_ms,
                    const ChoosePlan& choose, std::optional<Unreadable>* damaged) {
  Result<Picked> picked = pick(db, claimant, count, now_ms, choose);
  if (!picked) return picked.error();
  Claim claim;
  claim.queue_empty = picked->jobs.size() < count;
  claim.left_some = picked->left_some;
  std::size_t bytes = 0;
  for (auto& [job, choice] : picked->jobs) {
    bytes += job.bytes;
    const bool too_much = bytes > kMaxClaimBytes && !claim.jobs.empty();
    claim.suspect_waits = job.suspect && (!claimant.empty || !claim.jobs.empty());
    if (too_much || claim.suspect_waits) {
      claim.queue_empty = false;
      break;
    }
    const bool alone = job.suspect;
    if (Status status = claim_one(db, std::move(job), claimant, std::move(choice), now_ms, claim, damaged);
        !status)
      return status.error();
    if (!alone) continue;
    claim.queue_empty = false;
    break;
  }
  return claim;
}

Result<bool> fail_damaged(Database& db, const Unreadable& damaged, std::int64_t now_ms) {
  std::vector<JobId> waiting;
  {
    Query query(db,
                "SELECT id FROM jobs WHERE (id = ?1 OR rerun_of = ?1) AND state = 'queued' AND "
                "NOT " DSLAD_LEASED,
                damaged.job);
    while (query.next()) waiting.push_back(query.integer(0));
    if (!query.status()) return query.status().error();
  }
  for (const JobId id : waiting) {
    if (Status status = move_job(db, id, {JobState::kFailed, false, damaged.error}, now_ms); !status)
      return status.error();
  }
  const Status status = db.run(
      "UPDATE jobs SET rerun_wanted = NULL, rerun_model = NULL WHERE id = ? AND rerun_wanted IS NOT NULL",
      damaged.job);
  if (!status) return status.error();
  return std::find(waiting.begin(), waiting.end(), damaged.job) != waiting.end();
}

Result<Outcome> finish(Database& db, const schema::WorkerResult& result, std::int64_t now_ms,
                       const FinishRules& rules) {
  const Result<std::optional<Tries>> tries = check_lease(db, result.lease);
  if (!tries) return tries.error();
  if (!*tries) return Outcome{};
  if (Status status = save_metrics(db, result); !status) return status.error();
  if (result.error && rules.fits_elsewhere)
    return wait_for_room(db, result, rules.needs_tokens, **tries, now_ms);
  if (failed_by_its_plan(result, **tries)) return wait_for_plan_0(db, result, **tries, now_ms);
  if (result.error)
    return fail_attempt(db, result.lease, **tries, "failed", *result.error, rules.retry, now_ms);
  const Result<std::int64_t> wanted = answers_wanted(db, result.lease.job);
  if (!wanted) return wanted.error();
  if (static_cast<std::int64_t>(result.outputs.size()) != *wanted) {
    const Error error{ErrorCode::kInternal, fmt::format("the worker gave {} answers where {} were asked for",
                                                        result.outputs.size(), *wanted)};
    return fail_attempt(db, result.lease, **tries, "failed", error, rules.retry, now_ms);
  }
  if (Status status = save_outputs(db, result); !status) return status.error();
  if (rules.tells_begun) {
    if (Status status = set_start_back(db, result, now_ms); !status) return status.error();
  }
  Result<Outcome> outcome =
      end_lease(db, result.lease, **tries, "succeeded", std::nullopt, {JobState::kSucceeded}, now_ms);
  if (!outcome) return outcome;
  const Status status = (*tries)->rerun ? end_rerun(db, result.lease.job, now_ms)
                                        : want_rerun(db, result.lease.job, rules.canary_share);
  if (!status) return status.error();
  return outcome;
}

Result<Outcome> release(Database& db, const Lease& lease, LeaseEnd end, const std::string& why,
                        std::int64_t now_ms, const RetryRules& retry) {
  const Result<std::optional<Tries>> tries = check_lease(db, lease);
  if (!tries) return tries.error();
  if (!*tries) return Outcome{};
  const Error error{ErrorCode::kUnavailable, why};
  if (end == LeaseEnd::kLost) return fail_attempt(db, lease, **tries, "lost", error, retry, now_ms);
  Move move;
  if (end == LeaseEnd::kSuspected) {
    move.suspect = true;
    move.error = error;
  }
  const char* const outcome = end == LeaseEnd::kSuspected ? "lost" : "given_back";
  return end_lease(db, lease, **tries, outcome, error, move, now_ms);
}

}  // namespace dslad::daemon
