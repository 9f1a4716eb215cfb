// What the planner predicts of jobs at their submit, before they are stored.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "daemon/dispatch/planner.h"
#include "daemon/policy/admission.h"

namespace dslad::daemon {
namespace {

QueuedJob queued(const schema::JobRequest& request, const std::string& client, schema::Overflow overflow,
                 std::int64_t now_ms) {
  QueuedJob job;
  job.client = client;
  job.model = request.terms.model;
  job.priority = request.priority;
  job.created_ms = now_ms;
  job.due_ms = due_ms(request.terms.deadline_in_ms, now_ms);
  if (request.terms.deadline_in_ms > 0) job.deadline_ms = job.due_ms;
  job.min_quality = request.terms.min_quality;
  job.max_plan = request.terms.max_plan;
  job.best_effort = request.terms.best_effort;
  job.bytes = bytes_of(request.spec);
  job.questions = static_cast<std::uint32_t>(request.spec.questions.size());
  job.max_tokens = request.spec.options.max_tokens;
  job.overflow = overflow_of(request.spec, overflow);
  if (request.start_in_ms > 0) job.not_before_ms = due_ms(request.start_in_ms, now_ms);
  return job;
}

std::string displaced_text(const std::vector<std::int64_t>& jobs) {
  if (jobs.size() == 1) return fmt::format("job {}", jobs.front());
  return fmt::format("job {} and {} more", jobs.front(), jobs.size() - 1);
}

// Why a job is not taken, and with which deadline it would be.
Error refusal_of(const policy::Admission& made, std::uint64_t deadline_in_ms, std::int64_t now_ms) {
  const auto in_s = [](auto ms) { return static_cast<double>(ms) / 1000; };
  std::string text = fmt::format("its deadline is in {:.3g} s and ", in_s(deadline_in_ms));
  text += made.late ? "cannot be met" : "would have " + displaced_text(made.displaced) + " miss theirs";
  if (made.earliest_ms) {
    text += fmt::format("; the earliest that {} is in about {:.3g} s",
                        made.late ? "could be met" : "harms none", in_s(*made.earliest_ms - now_ms));
  }
  return {ErrorCode::kRefused,
          text + "; give it more time, or ask for best effort (dslactl submit --best-effort)"};
}

}  // namespace

double Planner::work_ms(const schema::JobRequest& job) const {
  const policy::JobSize size = size_of(queued(job, {}, schema::Overflow::kError, 0));
  if (!costs_.empty()) return costs_.begin()->second.of(size, {}, 0).total_ms();
  constexpr double kBytesAMs = 100, kTokensAMs = 1;  // only ratios between jobs matter
  return static_cast<double>(size.bytes) / kBytesAMs + size.answers() * size.max_tokens / kTokensAMs;
}

std::vector<Admission> Planner::admit(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                                      schema::Overflow overflow) {
  std::vector<Admission> admissions(jobs.size());
  if (costs_.empty()) return admissions;
  const bool promised = std::any_of(jobs.begin(), jobs.end(), [](const schema::JobRequest& job) {
    return job.terms.deadline_in_ms > 0 || job.priority != 0;
  });
  if (promised) {
    admit_exactly(jobs, client, overflow, admissions);
  } else {
    admit_behind(jobs, client, overflow, admissions);
  }
  return admissions;
}

double Planner::drain_ms(const std::string& model_digest) const {
  const auto came = [this](const std::string& digest) {
    const auto found = admitted_ms_.find(digest);
    return found == admitted_ms_.end() ? 0 : found->second;
  };
  if (model_digest.empty()) {
    double all_ms = verdict_.drain_ms;
    for (const auto& [digest, work_ms] : admitted_ms_) all_ms += work_ms;
    return all_ms;
  }
  const auto model = verdict_.models.find(model_digest);
  const double waits_ms = model == verdict_.models.end() ? 0 : model->second.load.drain_ms;
  return waits_ms + came(model_digest) + came("");
}

// Behind what waits: cheap enough for a flood of submits.
void Planner::admit_behind(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                           schema::Overflow overflow, std::vector<Admission>& admissions) {
  const std::vector<policy::WorkerFacts> all = workers();
  std::vector<policy::WaitingJob> fresh;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const QueuedJob job = queued(jobs[i], client, overflow, clock_.wall_ms());
    const auto serves = [&](const policy::WorkerFacts& worker) {
      return policy::may_answer(worker.model, worker.model_digest, job.model);
    };
    const auto first = std::ranges::find_if(all, serves);
    if (first == all.end()) continue;  // nobody knows when somebody comes who serves it
    const auto cost = costs_.find(first->speed_key);
    if (cost == costs_.end()) continue;
    const double work_ms =
        cost->second.of(size_of(job), first->shape(history_.level_of(first->model_digest)), first->context)
            .total_ms();
    const std::string digest = job.model.empty() ? "" : first->model_digest;
    double done_ms = static_cast<double>(clock_.steady_ms());
    if (job.not_before_ms) {  // what will wait by then is not known
      done_ms = static_cast<double>(steady(*job.not_before_ms)) + work_ms;
    } else {
      admitted_ms_[digest] += work_ms / static_cast<double>(std::ranges::count_if(all, serves));
      done_ms = std::max(done_ms, static_cast<double>(decided_at_) + drain_ms(digest));
      fresh.push_back(waiting(job));
    }
    admissions[i].finish_ms = wall(std::llround(done_ms));
  }
  note_admitted(std::move(fresh));
}

void Planner::admit_exactly(const std::vector<schema::JobRequest>& jobs, const std::string& client,
                            schema::Overflow overflow, std::vector<Admission>& admissions) {
  const std::int64_t now_ms = clock_.wall_ms();
  std::vector<policy::WaitingJob> before;
  for (const std::vector<QueuedJob>* read : {&snapshot_.jobs, &snapshot_.delayed}) {
    for (const QueuedJob& job : *read) before.push_back(waiting(job));
  }
  before.insert(before.end(), admitted_.begin(), admitted_.end());
  std::vector<policy::WaitingJob> fresh;
  for (const schema::JobRequest& request : jobs) {
    policy::WaitingJob job = waiting(queued(request, client, overflow, now_ms));
    job.id = next_unnumbered_++;
    fresh.push_back(std::move(job));
  }
  const std::vector<policy::Admission> made =
      policy::admissions(predicting(), history_, before, fresh, workers(), costs_, clock_.steady_ms());
  for (std::size_t i = 0; i < made.size(); ++i) {
    admissions[i].finish_ms = wall(made[i].finish_ms);
    if (!made[i].taken)
      admissions[i].refusal = refusal_of(made[i], jobs[i].terms.deadline_in_ms, clock_.steady_ms());
  }
  if (std::ranges::all_of(made, &policy::Admission::taken)) note_admitted(std::move(fresh));
}

// So that what is promised next counts on them, though the queue has not been read since. Only as many as
// that reads.
void Planner::note_admitted(std::vector<policy::WaitingJob> fresh) {
  for (policy::WaitingJob& job : fresh) {
    if (admitted_.size() >= kLooksAhead) return;
    job.id = next_unnumbered_++;
    admitted_.push_back(std::move(job));
  }
}

}  // namespace dslad::daemon
