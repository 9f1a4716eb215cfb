#include "ctl/batch_follow.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <thread>

#include "ctl/batch_status.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/result.h"
#include "ctl/terminal.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPoll{250};         // between questions for what has ended
constexpr milliseconds kCountEvery{1000};  // at the earliest; counting reads a row of every job
constexpr int kCountShare = 20;            // of the daemon's reading time, a twentieth goes into counting
constexpr milliseconds kSyncEvery{500};
constexpr std::chrono::seconds kPrintEvery{10};  // where no bar is drawn
constexpr std::chrono::seconds kRateOver{60};    // the time left is guessed from the latest minute

}  // namespace

BatchProgress::BatchProgress(bool quiet) : quiet_(quiet), live_(is_terminal(stderr)) {}

std::string BatchProgress::time_left(std::uint64_t ended, std::uint64_t total) {
  const Clock::time_point now = Clock::now();
  seen_.emplace_back(now, ended);
  while (seen_.size() > 2 && now - seen_.front().first > kRateOver) seen_.pop_front();
  const double ms = std::chrono::duration<double, std::milli>(now - seen_.front().first).count();
  const std::uint64_t came = ended - std::min(ended, seen_.front().second);
  if (came == 0 || ended >= total) return {};
  return fmt::format(", about {} left",
                     format_rough(ms / static_cast<double>(came) * static_cast<double>(total - ended)));
}

void BatchProgress::show(const schema::JobCounts& counts) {
  if (quiet_) return;
  const BatchObject batch = batch_object("", counts);
  const RequestCounts& requests = batch.request_counts;
  const std::uint64_t ended = requests.completed + requests.failed;
  const std::string line =
      fmt::format("{} {} of {} ended, {} failed, {} running{}", progress_bar(ended, requests.total),
                  format_count(ended), format_count(requests.total), format_count(requests.failed),
                  format_count(batch.jobs.at("running")), time_left(ended, requests.total));
  if (live_) return block_.show({line});
  if (printed_ && Clock::now() - *printed_ < kPrintEvery) return;
  printed_ = Clock::now();
  print_error(line + "\n");
}

Result<schema::JobCounts> BatchFollower::count() {
  Result<schema::JobCounts> counts = client_.call<schema::JobCounts>(schema::CountJobs{batch_, ""});
  if (!counts) return counts;
  if (Status status = check_known(batch_, *counts); !status) return status.error();
  for (int state = 0; state <= static_cast<int>(schema::JobState::kExpired); ++state)
    counts->jobs.try_emplace(std::string(to_string(static_cast<schema::JobState>(state))), 0);
  return counts;
}

Status BatchFollower::begin() {
  if (cursor_) return ok_status();
  const Result<schema::JobCounts> counts = count();
  if (!counts) return counts.error();
  cursor_ = schema::EndedAfter{counts->created_ms - 1, std::numeric_limits<schema::JobId>::max()};
  return ok_status();
}

Status BatchFollower::write(const schema::JobInfo& job) {
  if (sink_.has_job(job.custom_id)) return ok_status();
  const Result<schema::JobResult> result = fetch_result(
      [this](const schema::GetResult& page) { return client_.call<schema::JobResult>(page); }, job.id);
  // Between the list and the question it may have been forgotten, or have been made to run again.
  if (!result && result.error().code == ErrorCode::kNotFound) return ok_status();
  if (!result) return result.error();
  if (!is_final(result->job.state)) return ok_status();
  if (Status status = sink_.add_result(*result); !status) return status;
  return sync_now_and_then();
}

Status BatchFollower::sync_now_and_then() {
  if (Clock::now() - synced_ < kSyncEvery) return ok_status();
  Status status = sink_.sync();
  synced_ = Clock::now();
  return status;
}

Status BatchFollower::catch_up() {
  if (Status status = begin(); !status) return status;
  schema::ListJobs request;
  request.label = batch_;
  request.limit = static_cast<std::uint32_t>(schema::kMaxBatch);
  bool more = true;
  while (more && !interrupted()) {
    request.ended_after = cursor_;
    const Result<schema::JobList> page = client_.call<schema::JobList>(request);
    if (!page) return page.error();
    for (const schema::JobInfo& job : page->jobs) {
      if (interrupted()) break;
      if (Status status = write(job); !status) return status;
      cursor_ = schema::EndedAfter{job.ended_ms, job.id};
    }
    more = page->more;
  }
  // Others may end in the millisecond that was read last.
  if (cursor_->id != std::numeric_limits<schema::JobId>::max()) cursor_->id = 0;
  return sink_.sync();
}

// All of the batch's jobs, whatever the clock said. True where nothing was missing.
Result<bool> BatchFollower::fill_gaps() {
  schema::ListJobs request;
  request.label = batch_;
  request.limit = static_cast<std::uint32_t>(schema::kMaxBatch);
  bool complete = true;
  bool more = true;
  while (more && !interrupted()) {
    const Result<schema::JobList> page = client_.call<schema::JobList>(request);
    if (!page) return page.error();
    for (const schema::JobInfo& job : page->jobs) {
      if (interrupted()) break;
      if (sink_.has_job(job.custom_id)) continue;
      complete = false;
      if (!is_final(job.state)) continue;
      if (Status status = write(job); !status) return status.error();
    }
    more = page->more;
    if (more) request.before_id = page->jobs.back().id;
  }
  if (Status status = sink_.sync(); !status) return status.error();
  return complete;
}

void BatchFollower::pause() {
  constexpr milliseconds kStep{25};
  for (milliseconds slept{0}; slept < kPoll && !interrupted(); slept += kStep)
    std::this_thread::sleep_for(kStep);
}

Result<schema::JobCounts> BatchFollower::run() {
  Result<schema::JobCounts> counts = count();
  Clock::time_point count_at = Clock::now() + kCountEvery;
  while (counts && !interrupted()) {
    progress_.show(*counts);
    const Result<bool> done = step(*counts);
    if (!done && !interrupted()) return done.error();
    if (interrupted() || *done) break;
    pause();
    if (Clock::now() < count_at) continue;
    const Clock::time_point asked = Clock::now();
    Result<schema::JobCounts> next = count();
    if (!next && interrupted()) break;
    counts = std::move(next);
    count_at = Clock::now() + std::max<Clock::duration>(kCountEvery, kCountShare * (Clock::now() - asked));
  }
  progress_.clear();
  if (Status status = sink_.sync(); !status) return status.error();
  return counts;
}

Result<bool> BatchFollower::step(const schema::JobCounts& counts) {
  if (Status status = catch_up(); !status) return status.error();
  return open_jobs(counts) == 0 ? fill_gaps() : Result<bool>(false);
}

}  // namespace dslad::ctl
