// What operators do to the queue as a whole, and to jobs that have ended.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>

#include "ctl/amount.h"
#include "ctl/ask.h"
#include "ctl/format.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

Result<Exit> requeue(const Globals& globals, const std::vector<schema::JobId>& ids) {
  const schema::Requeue request{ids};
  if (Status status = request.validate(); !status) return status.error();
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const auto reply = client->call<schema::RequeueReply>(request);
  if (!reply) return reply.error();
  if (globals.json) print(to_json(*reply));
  Exit exit = kOk;
  for (const schema::JobInfo& job : reply->jobs) {
    const bool waits =
        std::find(reply->requeued.begin(), reply->requeued.end(), job.id) != reply->requeued.end();
    if (waits && !globals.json) print(fmt::format("job {} waits again\n", job.id));
    if (waits) continue;
    print_error(fmt::format(
        "dslactl: job {} is {}; only jobs that failed, were cancelled or have expired run again\n", job.id,
        to_string(job.state)));
    exit = kRefused;
  }
  for (const schema::JobId id : reply->not_found) {
    print_error(fmt::format("dslactl: job {} is not known; dslactl list shows the jobs\n", id));
    exit = kRefused;
  }
  return exit;
}

const char* meaning(schema::QueueMode mode) {
  switch (mode) {
    case schema::QueueMode::kPaused:
      return "paused: jobs are taken and none begins; dslactl resume ends it\n";
    case schema::QueueMode::kDraining:
      return "draining: no job is taken, and what waits is run; dslactl resume ends it\n";
    default:
      return "open: jobs are taken and run\n";
  }
}

void add_mode(CLI::App& app, Action& action, const char* name, schema::QueueMode mode, const char* help) {
  app.add_subcommand(name, help)->callback([mode, &action] {
    action = [mode](const Globals& globals) {
      return ask<schema::QueueReply>(
          globals, schema::SetQueueMode{mode},
          [](const schema::QueueReply& reply) { return std::string(meaning(reply.mode)); });
    };
  });
}

struct PurgeOptions {
  schema::Purge request;
  std::optional<std::uint64_t> older_than_ms;
  std::string state;
};

// As many requests as it takes, so that no single one holds up the others.
Result<Exit> purge(const Globals& globals, const PurgeOptions& options) {
  schema::Purge request = options.request;
  request.ended_before_ms = options.older_than_ms.value_or(0);
  if (!options.state.empty()) {
    schema::JobState state{};
    if (!schema::parse_word(options.state, state))
      return invalid_argument(
          fmt::format("--state '{}' is none of succeeded, failed, cancelled, expired", options.state));
    request.state = state;
  }
  if (Status status = request.validate(); !status) return status.error();
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  schema::PurgeReply total;
  do {
    const auto reply = client->call<schema::PurgeReply>(request);
    if (!reply) return reply.error();
    total.jobs += reply->jobs;
    total.more = reply->more;
  } while (total.more);
  print(globals.json ? to_json(total) : fmt::format("{} jobs are forgotten\n", format_count(total.jobs)));
  return kOk;
}

}  // namespace

void add_requeue(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("requeue", "Run jobs again that failed, were cancelled or have expired");
  auto ids = std::make_shared<std::vector<schema::JobId>>();
  verb->add_option("ID", *ids, "Ids of jobs")->required();
  verb->callback(
      [ids, &action] { action = [ids](const Globals& globals) { return requeue(globals, *ids); }; });
}

void add_modes(CLI::App& app, Action& action) {
  add_mode(app, action, "pause", schema::QueueMode::kPaused, "Let no further job begin; what runs goes on");
  add_mode(app, action, "drain", schema::QueueMode::kDraining, "Take no further job; what waits is run");
  add_mode(app, action, "resume", schema::QueueMode::kOpen, "Take jobs and run them, as always");
}

void add_purge(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("purge", "Forget jobs that have ended, with their texts and results");
  auto options = std::make_shared<PurgeOptions>();
  add_duration(*verb, "--older-than", options->older_than_ms, "Only jobs that ended so long ago: 30d, 12h", 0)
      ->required();
  verb->add_option("--state", options->state, "Only jobs that ended so");
  verb->add_option("--label", options->request.label, "Only jobs that have this label");
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return purge(globals, *options); };
  });
}

}  // namespace dslad::ctl
