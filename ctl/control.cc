#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <memory>

#include "ctl/client.h"
#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/table.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

bool was_cancelled_now(const schema::CancelReply& reply, schema::JobId id) {
  return std::find(reply.cancelled.begin(), reply.cancelled.end(), id) != reply.cancelled.end();
}

void print_cancelled(const schema::CancelReply& reply) {
  for (const schema::JobInfo& job : reply.jobs) {
    if (was_cancelled_now(reply, job.id)) print(fmt::format("job {} cancelled\n", job.id));
  }
}

// Says which jobs stay as they are, and why.
Exit explain_refusals(const schema::CancelReply& reply) {
  Exit exit = kOk;
  for (const schema::JobInfo& job : reply.jobs) {
    if (was_cancelled_now(reply, job.id)) continue;
    print_error(fmt::format("dslactl: job {} has ended already, it is {}\n", job.id, to_string(job.state)));
    exit = kRefused;
  }
  for (const schema::JobId id : reply.not_found) {
    print_error(fmt::format("dslactl: job {} is not known; dslactl list shows the jobs\n", id));
    exit = kRefused;
  }
  return exit;
}

Result<Exit> cancel(const Globals& globals, const std::vector<schema::JobId>& ids) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const schema::Cancel request{ids};
  if (Status status = request.validate(); !status) return status.error();
  const auto reply = client->call<schema::CancelReply>(request);
  if (!reply) return reply.error();
  if (globals.json) {
    print(to_json(*reply));
  } else {
    print_cancelled(*reply);
  }
  return explain_refusals(*reply);
}

std::string show_plans(const schema::PlanReply& reply) {
  if (reply.workers.empty()) return "no worker is connected: start dslad-worker\n";
  Table table({"WORKER", "MODEL", ">PLAN", ">LAYERS", "NOTE"});
  for (const schema::WorkerPlan& worker : reply.workers) {
    table.add({one_line(worker.worker), one_line(worker.model),
               worker.error ? "" : std::to_string(worker.plan),
               worker.error ? "" : std::to_string(worker.layers),
               worker.error ? "kept its plan: " + one_line(worker.error->message) : ""});
  }
  table.drop_empty();
  std::string text = table.text();
  for (const schema::WorkerPlan& worker : reply.workers) {
    for (const schema::LayerChange& change : worker.changes) {
      text += fmt::format("layer {}: {} -> {}\n", change.layer, to_string(change.from), to_string(change.to));
    }
  }
  return text;
}

// Workers confirm a plan between two steps, for which the daemon by default waits longer than we do for an
// answer. Who names a timeout gets it.
std::chrono::milliseconds confirmation_timeout(const Globals& globals) {
  constexpr std::chrono::seconds kPatience{90};
  return globals.rpc_timeout_s == Globals::kRpcTimeoutS ? kPatience : globals.rpc_timeout();
}

template <typename Request>
Result<Exit> plan(const Globals& globals, const Request& request, std::chrono::milliseconds timeout) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const auto reply = client->call<schema::PlanReply>(request, timeout);
  if (!reply) return reply.error();
  print(globals.json ? to_json(*reply) : show_plans(*reply));
  const bool partly = std::any_of(reply->workers.begin(), reply->workers.end(),
                                  [](const schema::WorkerPlan& worker) { return worker.error.has_value(); });
  return partly ? kRefused : kOk;
}

}  // namespace

void add_cancel(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("cancel", "Cancel jobs that have not ended");
  auto ids = std::make_shared<std::vector<schema::JobId>>();
  verb->add_option("ID", *ids, "Ids of jobs")->required();
  verb->callback(
      [ids, &action] { action = [ids](const Globals& globals) { return cancel(globals, *ids); }; });
}

void add_plan(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("plan", "How many layers run DSLA instead of attention");
  verb->require_subcommand(1);
  verb->add_subcommand("show", "The plan of each worker")->fallthrough()->callback([&action] {
    action = [](const Globals& globals) { return plan(globals, schema::ShowPlan{}, globals.rpc_timeout()); };
  });

  CLI::App* set =
      verb->add_subcommand("set", "Change the plan for jobs that start; running ones keep theirs");
  auto request = std::make_shared<schema::SetPlan>();
  request->reason = "dslactl plan set";
  set->fallthrough();
  set->add_option("N", request->plan, "The first N layers of the conversion order run DSLA")->required();
  set->add_flag("--allow-undistilled", request->allow_undistilled,
                "For tests: take layers without distilled weights");
  set->add_option("--reason", request->reason, "Recorded with each layer's change")->capture_default_str();
  set->callback([request, &action] {
    action = [request](const Globals& globals) {
      return plan(globals, *request, confirmation_timeout(globals));
    };
  });
}

}  // namespace dslad::ctl
