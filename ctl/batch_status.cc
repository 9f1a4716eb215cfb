#include "ctl/batch_status.h"

#include <fmt/format.h>

#include "ctl/format.h"
#include "ctl/progress.h"

namespace dslad::ctl {
namespace {

using schema::JobState;

std::uint64_t jobs_in(const std::map<std::string, std::uint64_t>& jobs, JobState state) {
  const auto found = jobs.find(std::string(to_string(state)));
  return found == jobs.end() ? 0 : found->second;
}

// A cancel takes effect at once, so no batch is ever "cancelling".
std::string status_of(const schema::JobCounts& counts, const RequestCounts& requests) {
  if (open_jobs(counts) > 0) return "in_progress";
  if (jobs_in(counts.jobs, JobState::kFailed) == requests.total) return "failed";
  if (jobs_in(counts.jobs, JobState::kCancelled) > 0) return "cancelled";
  return jobs_in(counts.jobs, JobState::kExpired) > 0 ? "expired" : "completed";
}

}  // namespace

BatchObject batch_object(const std::string& id, const schema::JobCounts& counts) {
  BatchObject batch;
  batch.id = id;
  batch.jobs = counts.jobs;
  for (const auto& [state, jobs] : counts.jobs) batch.request_counts.total += jobs;
  batch.request_counts.completed = jobs_in(counts.jobs, JobState::kSucceeded);
  batch.request_counts.failed = jobs_in(counts.jobs, JobState::kFailed) +
                                jobs_in(counts.jobs, JobState::kCancelled) +
                                jobs_in(counts.jobs, JobState::kExpired);
  batch.status = status_of(counts, batch.request_counts);
  batch.created_at = counts.created_ms / 1000;
  const std::int64_t ended_at = counts.ended_ms / 1000;
  if (batch.status == "completed") batch.completed_at = ended_at;
  if (batch.status == "failed") batch.failed_at = ended_at;
  if (batch.status == "cancelled") batch.cancelled_at = ended_at;
  if (batch.status == "expired") batch.expired_at = ended_at;
  return batch;
}

std::string batch_text(const BatchObject& batch) {
  const RequestCounts& counts = batch.request_counts;
  std::string text = fmt::format("{}: {}, since {}\n", batch.id, batch.status,
                                 format_moment(batch.created_at * 1000, wall_ms()));
  text += fmt::format("{} {} of {} ended\n", progress_bar(counts.completed + counts.failed, counts.total),
                      format_count(counts.completed + counts.failed), format_count(counts.total));
  text += "jobs:";
  for (const JobState state : {JobState::kQueued, JobState::kRunning, JobState::kSucceeded, JobState::kFailed,
                               JobState::kCancelled, JobState::kExpired}) {
    text += fmt::format(" {} {}{}", format_count(jobs_in(batch.jobs, state)), to_string(state),
                        state == JobState::kExpired ? "\n" : ",");
  }
  return text;
}

std::uint64_t open_jobs(const schema::JobCounts& counts) {
  return jobs_in(counts.jobs, JobState::kQueued) + jobs_in(counts.jobs, JobState::kRunning);
}

Exit exit_of(const BatchObject& batch) {
  return batch.request_counts.failed == 0 ? kOk : kJobFailed;
}

Status check_known(const std::string& id, const schema::JobCounts& counts) {
  if (counts.created_ms != 0) return ok_status();
  return Error{ErrorCode::kNotFound,
               fmt::format("no job is of {}: it was never submitted here, or its jobs are forgotten", id)};
}

}  // namespace dslad::ctl
