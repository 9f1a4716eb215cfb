#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "ctl/ask.h"
#include "ctl/format.h"
#include "ctl/job_status.h"
#include "ctl/table.h"
#include "ctl/workers.h"

namespace dslad::ctl {
namespace {

std::uint64_t count(const schema::DaemonStatus& status, schema::JobState state) {
  const auto found = status.jobs.find(std::string(to_string(state)));
  return found == status.jobs.end() ? 0 : found->second;
}

// Nothing where there is nothing to do.
std::string show_load(const schema::DaemonStatus& status) {
  const bool idle = count(status, schema::JobState::kQueued) + count(status, schema::JobState::kRunning) == 0;
  if (idle) return {};
  std::string text;
  if (status.waiting_tokens != 0)
    text = fmt::format("about {} prompt tokens wait, ", format_count(status.waiting_tokens));
  text += status.drain_ms == 0
              ? "how long it takes is not known yet"
              : fmt::format("all done in about {}", format_rough(static_cast<double>(status.drain_ms)));
  return fmt::format("load: {}\n", text);
}

std::string show_status(const schema::DaemonStatus& status, const std::string& url) {
  std::string text = fmt::format("dslad {} at {}, up {}{}\n", status.version, url,
                                 format_duration(static_cast<double>(status.uptime_ms)),
                                 status.draining ? ", stopping: it takes no new jobs" : "");
  if (!status.you.empty())
    text += fmt::format("you are {}, with the role {}\n", one_line(status.you), one_line(status.role));
  if (status.mode == schema::QueueMode::kPaused) text += "paused: no job begins (dslactl resume)\n";
  if (status.mode == schema::QueueMode::kDraining) text += "draining: no job is taken (dslactl resume)\n";
  text += "jobs:";
  for (const auto state :
       {schema::JobState::kQueued, schema::JobState::kRunning, schema::JobState::kSucceeded,
        schema::JobState::kFailed, schema::JobState::kCancelled, schema::JobState::kExpired}) {
    text += fmt::format(" {} {}{}", format_count(count(status, state)), to_string(state),
                        state == schema::JobState::kExpired ? "" : ",");
  }
  text += fmt::format("\nplan: {} in force, policy {}\n", status.plan, to_string(status.policy));
  text += show_load(status);
  if (status.workers.empty()) return text + "no worker is connected: start dslad-worker\n";
  return text + "\n" + worker_table(status.workers) + chain_faults(status.workers);
}

Result<JobStatus> look_at(Client& client, schema::JobId id) {
  JobStatus status;
  Result<schema::JobInfo> job = client.call<schema::JobInfo>(schema::GetJob{id});
  if (!job) return job.error();
  Result<schema::JobVerdict> verdict = client.call<schema::JobVerdict>(schema::ExplainJob{id});
  if (!verdict) return verdict.error();
  status.job = std::move(job).value();
  status.plan = verdict->plan;
  status.quality = verdict->quality;
  status.why = std::move(verdict->why);
  return status;
}

// Nothing is printed where one of them is not known.
Result<Exit> show_jobs(const Globals& globals, const std::vector<schema::JobId>& ids) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  std::vector<JobStatus> jobs;
  for (const schema::JobId id : ids) {
    Result<JobStatus> status = look_at(*client, id);
    if (!status) return status.error();
    jobs.push_back(std::move(status).value());
  }
  if (!globals.json) {
    print(job_status_text(jobs));
    return kOk;
  }
  for (const JobStatus& status : jobs) print(to_json(status));
  return kOk;
}

std::string measured(const std::optional<double>& number) {
  return number ? fmt::format("{:.4g}", *number) : "-";
}

std::string show_layers(const schema::LayersReply& reply) {
  if (reply.models.empty()) return "no worker has announced a model yet\n";
  std::string text;
  for (const schema::ModelLayers& model : reply.models) {
    text += fmt::format("{}{} ({}), plan {}\n", text.empty() ? "" : "\n", one_line(model.model),
                        one_line(model.model_digest.substr(0, 12)), model.plan);
    Table table({">LAYER", "STATE", ">ORDER", "DISTILLED WEIGHTS", ">ENTROPY", ">KL", ">QUALITY", "NOTE"});
    for (const schema::LayerInfo& layer : model.layers) {
      table.add({std::to_string(layer.layer), coloured(stdout, layer.state, to_string(layer.state)),
                 layer.order < 0 ? "-" : std::to_string(layer.order), layer.distilled ? "yes" : "no",
                 measured(layer.entropy), measured(layer.kl), measured(layer.quality),
                 one_line(layer.reason)});
    }
    table.drop_empty();
    text += table.text();
  }
  return text;
}

std::string show_stats(const schema::StatsReply& stats) {
  Table table({"COUNTER", ">SINCE START"});
  for (const auto& [name, count] : stats.counters) table.add({one_line(name), format_count(count)});
  std::string text =
      fmt::format("up {}\n\n{}", format_duration(static_cast<double>(stats.uptime_ms)), table.text());
  if (!stats.workers.empty()) text += "\n" + engine_table(stats.workers);
  if (!stats.cost_models.empty()) text += "\n" + cost_table(stats.cost_models);
  return text;
}

}  // namespace

void add_status(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand(
      "status", "The daemon, its queue and its workers; of jobs: state, place, predicted end, plan, worker");
  auto ids = std::make_shared<std::vector<schema::JobId>>();
  verb->add_option("JOB", *ids, "Ids of jobs; without them, the daemon");
  verb->callback([ids, &action] {
    action = [ids](const Globals& globals) {
      if (!ids->empty()) return show_jobs(globals, *ids);
      return ask<schema::DaemonStatus>(
          globals, schema::GetStatus{},
          [&globals](const schema::DaemonStatus& status) { return show_status(status, globals.url); });
    };
  });
}

void add_layers(CLI::App& app, Action& action) {
  app.add_subcommand("layers", "What each layer of each model runs: attention or DSLA")->callback([&action] {
    action = [](const Globals& globals) {
      return ask<schema::LayersReply>(globals, schema::GetLayers{}, show_layers);
    };
  });
}

void add_stats(CLI::App& app, Action& action) {
  app.add_subcommand("stats", "Counters of the daemon, throughput and memory of its workers")
      ->callback([&action] {
        action = [](const Globals& globals) {
          return ask<schema::StatsReply>(globals, schema::GetStats{}, show_stats);
        };
      });
}

}  // namespace dslad::ctl
