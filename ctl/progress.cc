#include "ctl/progress.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

#include "ctl/columns.h"
#include "ctl/format.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

using schema::JobInfo;
using schema::JobState;

constexpr std::size_t kBarColumns = 24;
constexpr std::size_t kLiveRows = 10;

std::size_t count(const std::vector<JobInfo>& jobs, JobState state) {
  return static_cast<std::size_t>(
      std::count_if(jobs.begin(), jobs.end(), [state](const JobInfo& job) { return job.state == state; }));
}

std::string total_line(const std::vector<JobInfo>& jobs) {
  const auto ended = static_cast<std::size_t>(
      std::count_if(jobs.begin(), jobs.end(), [](const JobInfo& job) { return is_final(job.state); }));
  return fmt::format("{} {} of {} ended, {} running, {} queued", progress_bar(ended, jobs.size()), ended,
                     jobs.size(), count(jobs, JobState::kRunning), count(jobs, JobState::kQueued));
}

}  // namespace

std::string progress_bar(std::uint64_t done, std::uint64_t total) {
  const std::size_t filled = total == 0 ? 0 : std::min<std::size_t>(kBarColumns, kBarColumns * done / total);
  return fmt::format("[{}{}]", std::string(filled, '#'), std::string(kBarColumns - filled, '.'));
}

std::string progress_text(const JobInfo& job) {
  if (job.state != JobState::kRunning) return std::string(to_string(job.state));
  const schema::Progress& progress = job.progress;
  switch (progress.phase) {
    case schema::Phase::kWaiting:
      return "running";  // how far is not told yet
    case schema::Phase::kPrefill:
      return fmt::format("prefill {} {} of {} tokens",
                         progress_bar(progress.prompt_done, progress.prompt_total),
                         format_count(progress.prompt_done), format_count(progress.prompt_total));
    case schema::Phase::kDecode:
      return fmt::format("decode  {} tokens written", format_count(progress.tokens_out));
  }
  return "running";
}

std::vector<std::string> progress_lines(const std::vector<JobInfo>& jobs, std::size_t rows) {
  std::vector<std::string> lines;
  for (const JobInfo& job : jobs) {
    if (job.state == JobState::kRunning && lines.size() < rows) {
      lines.push_back(fmt::format("job {:<6} {}", job.id, progress_text(job)));
    }
  }
  lines.push_back(total_line(jobs));
  return lines;
}

void LiveBlock::show(const std::vector<std::string>& lines) {
  std::string out = shown_ == 0 ? "" : fmt::format("\x1b[{}A\r\x1b[J", shown_);
  const std::size_t columns = terminal_width(stderr);
  for (const std::string& line : lines) out += fit(line, columns - 1) + "\n";
  print_error(out);
  shown_ = lines.size();
}

void LiveBlock::erase() {
  if (shown_ != 0) show({});
}

ProgressView::ProgressView() : live_(is_terminal(stderr)) {}

void ProgressView::update(const std::vector<JobInfo>& jobs) {
  if (live_) {
    block_.show(progress_lines(jobs, kLiveRows));
  } else {
    print_changes(jobs);
  }
}

void ProgressView::print_changes(const std::vector<JobInfo>& jobs) {
  for (const JobInfo& job : jobs) {
    const auto now = std::pair(job.state, job.progress.phase);
    const auto [entry, first] = printed_.try_emplace(job.id, now);
    const bool changed = first ? job.state != JobState::kQueued : entry->second != now;
    entry->second = now;
    if (changed && job.state == JobState::kRunning) {
      print_error(job.progress.phase == schema::Phase::kWaiting
                      ? fmt::format("job {}: running\n", job.id)
                      : fmt::format("job {}: running, {}\n", job.id, to_string(job.progress.phase)));
    }
  }
}

}  // namespace dslad::ctl
