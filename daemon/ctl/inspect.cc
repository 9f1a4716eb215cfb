#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <string_view>

#include "daemon/ctl/client.h"
#include "daemon/ctl/format.h"
#include "daemon/ctl/json.h"
#include "daemon/ctl/progress.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/terminal.h"
#include "daemon/ctl/workers.h"

namespace dslad::daemon::ctl {
namespace {

// Asks one question and prints the answer, as `show` says or in JSON.
template <typename Reply, typename Request, typename Show>
Result<Exit> ask(const Globals& globals, const Request& request, Show show) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const auto reply = client->call<Reply>(request);
  if (!reply) return reply.error();
  print(globals.json ? to_json(*reply) : show(*reply));
  return kOk;
}

std::string show_status(const schema::DaemonStatus& status, const std::string& url) {
  std::string text = fmt::format("dslad {} at {}, up {}{}\n", status.version, url,
                                 format_duration(static_cast<double>(status.uptime_ms)),
                                 status.draining ? ", draining: it takes no new jobs" : "");
  text += "jobs:";
  for (const auto state :
       {schema::JobState::kQueued, schema::JobState::kRunning, schema::JobState::kSucceeded,
        schema::JobState::kFailed, schema::JobState::kCancelled, schema::JobState::kExpired}) {
    const auto found = status.jobs.find(std::string(to_string(state)));
    const std::uint64_t count = found == status.jobs.end() ? 0 : found->second;
    text += fmt::format(" {} {}{}", format_count(count), to_string(state),
                        state == schema::JobState::kExpired ? "" : ",");
  }
  text += fmt::format("\nplan: {}\n", status.plan);
  if (status.workers.empty()) return text + "no worker is connected: start dslad-worker\n";
  return text + "\n" + worker_table(status.workers);
}

double lasted_ms(const schema::JobInfo& job) {
  return job.ended_ms == 0 || job.started_ms == 0 ? -1 : static_cast<double>(job.ended_ms - job.started_ms);
}

std::string show_jobs(const schema::JobList& list) {
  if (list.jobs.empty()) return "no jobs\n";
  Table table(
      {">ID", "TASK", "STATE", ">PRIORITY", ">ATTEMPT", "ENTERED", ">RAN", "WORKER", "CUSTOM ID", "NOTE"});
  for (const schema::JobInfo& job : list.jobs) {
    const double ran = lasted_ms(job);
    std::string note = job.error ? one_line(job.error->message) : "";
    if (job.state == schema::JobState::kRunning) note = progress_text(job);
    table.add({std::to_string(job.id), std::string(to_string(job.task)),
               coloured(stdout, job.state, to_string(job.state)), std::to_string(job.priority),
               fmt::format("{}/{}", job.attempt, job.max_attempts), format_date(job.created_ms),
               ran < 0 ? "" : format_duration(ran), one_line(job.worker), one_line(job.custom_id),
               std::move(note)});
  }
  std::string text = table.text();
  if (list.more) text += fmt::format("older ones: dslactl list --before {}\n", list.jobs.back().id);
  return text;
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
    Table table({">LAYER", "STATE", ">ORDER", "DISTILLED WEIGHTS", ">ENTROPY", ">KL", ">QUALITY"});
    for (const schema::LayerInfo& layer : model.layers) {
      table.add({std::to_string(layer.layer), coloured(stdout, layer.state, to_string(layer.state)),
                 layer.order < 0 ? "-" : std::to_string(layer.order), layer.distilled ? "yes" : "no",
                 measured(layer.entropy), measured(layer.kl), measured(layer.quality)});
    }
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
  return text;
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

void add_status(CLI::App& app, Action& action) {
  app.add_subcommand("status", "The daemon, its queue and its workers")->callback([&action] {
    action = [](const Globals& globals) {
      return ask<schema::DaemonStatus>(
          globals, schema::GetStatus{},
          [&globals](const schema::DaemonStatus& status) { return show_status(status, globals.url); });
    };
  });
}

void add_list(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("list", "Jobs, newest first");
  auto options = std::make_shared<ListOptions>();
  verb->add_option("--state", options->state, "Only jobs in this state");
  verb->add_option("--limit", options->request.limit, "At most so many")->capture_default_str();
  verb->add_option("--before", options->request.before_id, "Only jobs older than this id")->type_name("ID");
  verb->callback(
      [options, &action] { action = [options](const Globals& globals) { return list(globals, *options); }; });
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

}  // namespace dslad::daemon::ctl
