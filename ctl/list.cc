#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <memory>

#include "ctl/ask.h"
#include "ctl/format.h"
#include "ctl/job_status.h"
#include "ctl/progress.h"
#include "ctl/table.h"

namespace dslad::ctl {
namespace {

double lasted_ms(const schema::JobInfo& job) {
  return job.ended_ms == 0 || job.started_ms == 0 ? -1 : static_cast<double>(job.ended_ms - job.started_ms);
}

bool is_queued(const schema::JobInfo& job) {
  return job.state == schema::JobState::kQueued;
}

// By what is predicted, or by what was.
bool is_late(const schema::JobInfo& job, std::int64_t now_ms) {
  if (job.deadline_ms == 0) return false;
  if (is_final(job.state)) return job.ended_ms > job.deadline_ms;
  return std::max(job.finish_ms, now_ms) > job.deadline_ms;
}

std::string deadline(const schema::JobInfo& job, std::int64_t now_ms) {
  if (job.deadline_ms == 0) return {};
  return format_time(job.deadline_ms, now_ms) + (is_late(job, now_ms) ? " late" : "");
}

std::string note(const schema::JobInfo& job) {
  if (job.state == schema::JobState::kRunning) return progress_text(job) + (job.alone ? ", alone" : "");
  if (job.at_worker) return "its worker begins it next";
  if (is_queued(job) && job.starts_ms > 0) return "begins " + format_moment(job.starts_ms, wall_ms());
  return job.error ? one_line(job.error->message) : "";
}

// Not one that had it before it came back to the queue.
std::string worker_of(const schema::JobInfo& job) {
  return is_queued(job) && !job.at_worker ? "" : one_line(job.worker);
}

// Who is alone with the daemon need not read it in each line.
bool are_of_several(const std::vector<schema::JobInfo>& jobs) {
  return std::any_of(jobs.begin(), jobs.end(),
                     [&jobs](const schema::JobInfo& job) { return job.owner != jobs.front().owner; });
}

std::vector<std::string> cells(const schema::JobInfo& job, std::int64_t now_ms, bool with_owner) {
  const double ran = lasted_ms(job);
  const bool predicted = !is_final(job.state) && job.finish_ms != 0;
  return {std::to_string(job.id),
          std::string(to_string(job.task)),
          coloured(stdout, job.state, to_string(job.state)),
          std::to_string(job.priority),
          fmt::format("{}/{}", job.attempt, job.max_attempts),
          format_date(job.created_ms),
          ran < 0 ? "" : format_duration(ran),
          worker_of(job),
          is_queued(job) && job.place != 0 ? std::to_string(job.place) : "",
          predicted ? format_time(job.finish_ms, now_ms) : "",
          deadline(job, now_ms),
          one_line(job.model),
          one_line(job.custom_id),
          one_line(fmt::format("{}", fmt::join(job.labels, " "))),
          with_owner ? one_line(job.owner) : "",
          note(job)};
}

std::string show_jobs(const schema::JobList& list) {
  if (list.jobs.empty()) return "no jobs\n";
  Table table({">ID", "TASK", "STATE", ">PRIORITY", ">ATTEMPT", "ENTERED", ">RAN", "WORKER", ">PLACE",
               "DONE ABOUT", "DEADLINE", "MODEL", "CUSTOM ID", "LABELS", "OWNER", "NOTE"});
  const std::int64_t now_ms = wall_ms();
  const bool with_owner = are_of_several(list.jobs);
  for (const schema::JobInfo& job : list.jobs) table.add(cells(job, now_ms, with_owner));
  table.drop_empty();
  std::string text = table.text();
  if (list.more) text += fmt::format("older ones: dslactl list --before {}\n", list.jobs.back().id);
  return text;
}

std::string plan_cell(const JobStatus& status) {
  if (!status.plan) return {};
  const std::string plan = std::to_string(*status.plan);
  return *status.plan > 0 && status.quality ? fmt::format("{} ({})", plan, format_share(*status.quality))
                                            : plan;
}

struct ListOptions {
  schema::ListJobs request;
  std::string state;
};

Result<Exit> list(const Globals& globals, const ListOptions& options) {
  schema::ListJobs request = options.request;
  if (!options.state.empty()) {
    schema::JobState state{};
    if (!schema::parse_word(options.state, state)) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("--state '{}' is none of queued, running, succeeded, failed, cancelled, expired",
                      options.state)};
    }
    request.state = state;
  }
  if (Status status = request.validate(); !status) return status.error();
  return ask<schema::JobList>(globals, request, show_jobs);
}

}  // namespace

std::string job_status_text(const std::vector<JobStatus>& jobs) {
  Table table({">ID", "STATE", ">PLACE", "DONE ABOUT", "ENDED", "DEADLINE", "PLAN", "WORKER", "NOTE"});
  const std::int64_t now_ms = wall_ms();
  for (const JobStatus& status : jobs) {
    const schema::JobInfo& job = status.job;
    const bool predicted = !is_final(job.state) && job.finish_ms != 0;
    table.add({std::to_string(job.id), coloured(stdout, job.state, to_string(job.state)),
               is_queued(job) && job.place != 0 ? std::to_string(job.place) : "",
               predicted ? format_time(job.finish_ms, now_ms) : "",
               is_final(job.state) ? format_time(job.ended_ms, now_ms) : "", deadline(job, now_ms),
               plan_cell(status), worker_of(job), note(job)});
  }
  table.drop_empty();
  return table.text();
}

void add_list(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("list", "Jobs, newest first");
  auto options = std::make_shared<ListOptions>();
  verb->add_option("--state", options->state, "Only jobs in this state");
  verb->add_option("--label", options->request.label, "Only jobs that have this label");
  verb->add_option("--client", options->request.client, "Only jobs of this client");
  verb->add_option("--owner", options->request.owner,
                   "Only jobs of this owner, such as uid:1000 or key:alice");
  verb->add_option("--limit", options->request.limit, "At most so many")->capture_default_str();
  verb->add_option("--before", options->request.before_id, "Only jobs older than this id")->type_name("ID");
  verb->callback(
      [options, &action] { action = [options](const Globals& globals) { return list(globals, *options); }; });
}

}  // namespace dslad::ctl
