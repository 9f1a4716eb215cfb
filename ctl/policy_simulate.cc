#include "ctl/policy_simulate.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "ctl/client.h"
#include "ctl/json.h"
#include "ctl/simulation.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

constexpr const char* kTraceFormat = R"(
TRACE is a CSV file whose header names its columns:
  arrived_s    seconds; or TIMESTAMP, arrived_at
  bytes        of document, prompt and questions; or the tokens of the prompt: prompt_tokens,
               ContextTokens, num_prefill_tokens
  max_tokens   of each answer; or the tokens that came: output_tokens, GeneratedTokens, num_decode_tokens
  questions, client, model, deadline_s, min_quality, max_plan, priority   optional; may be empty
so that Azure's and Vidur's traces are read as they are.

Examples:
  dslactl policy simulate trace.csv
  dslactl policy simulate trace.csv --policy deadline --policy static:4 --speed 2
)";

struct SimulateOptions {
  std::string trace;
  std::vector<std::string> policies;  // empty: the daemon's own, and plan 0
  double speed = 1;
  std::size_t limit = kMostTraceJobs;
};

Result<std::vector<Contender>> contenders_of(const std::vector<std::string>& names,
                                             const schema::PolicyReply& own) {
  if (names.empty()) return usual_contenders(own);
  std::vector<Contender> all;
  for (const std::string& name : names) {
    Result<Contender> one = contender_of(name, own);
    if (!one) return one.error();
    all.push_back(std::move(one).value());
  }
  return all;
}

ContenderOutcome timed_run(Simulation& simulation, const Contender& contender) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point began = Clock::now();
  ContenderOutcome made = run(simulation, contender);
  made.took_ms = std::chrono::duration<double, std::milli>(Clock::now() - began).count();
  return made;
}

Result<Exit> simulate(const Globals& globals, const SimulateOptions& options) {
  // Names and trace are checked before anybody is asked.
  if (const auto named = contenders_of(options.policies, {}); !named) return named.error();
  const Result<std::vector<TraceJob>> jobs = read_trace_file(options.trace, options.limit);
  if (!jobs) return jobs.error();
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  const auto own = client->call<schema::PolicyReply>(schema::ShowPolicy{});
  if (!own) return own.error();
  const auto status = client->call<schema::DaemonStatus>(schema::GetStatus{});
  if (!status) return status.error();
  const Result<std::vector<Contender>> contenders = contenders_of(options.policies, *own);
  if (!contenders) return contenders.error();
  Result<Simulation> simulation = simulation_of(*jobs, options.speed, *status, *own);
  if (!simulation) return simulation.error();
  SimulationReport report{jobs->size(),        simulation->not_served, simulation->too_large,
                          simulation->workers, simulation->left_out,   {}};
  for (const Contender& one : *contenders) report.policies.push_back(timed_run(*simulation, one));
  print(globals.json ? to_json(report) : simulation_text(report));
  return kOk;
}

}  // namespace

void add_policy_simulate(CLI::App& policy, Action& action) {
  constexpr double kSlowest = 1e-3;
  constexpr double kFastest = 1e6;
  CLI::App* verb = policy.add_subcommand(
      "simulate", "What policies would make of a trace of jobs, on the workers' learnt speed");
  auto options = std::make_shared<SimulateOptions>();
  verb->fallthrough();
  verb->add_option("TRACE", options->trace, "A CSV file, or - for standard input")->required();
  verb->add_option(
          "--policy", options->policies,
          "deadline, threshold or static:N; may be repeated. By default the daemon's own and static:0")
      ->expected(1)
      ->take_all()
      ->type_name("POLICY");
  verb->add_option("--speed", options->speed, "Jobs arrive that many times as fast as in the trace")
      ->check(CLI::Range(kSlowest, kFastest))
      ->capture_default_str()
      ->type_name("X");
  verb->add_option("--limit", options->limit, "The first N jobs of the trace")
      ->check(CLI::Range(std::size_t{1}, kMostTraceJobs))
      ->type_name("N");
  verb->footer(kTraceFormat);
  verb->callback([options, &action] {
    action = [options](const Globals& globals) { return simulate(globals, *options); };
  });
}

}  // namespace dslad::ctl
