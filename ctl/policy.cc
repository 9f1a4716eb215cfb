#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <optional>

#include "ctl/amount.h"
#include "ctl/ask.h"
#include "ctl/format.h"
#include "ctl/policy_simulate.h"
#include "ctl/policy_text.h"
#include "schema/limits.h"

namespace dslad::ctl {
namespace {

constexpr const char* kPolicyWords = "manual, static, threshold, deadline";

constexpr const char* kPolicyExamples = R"(
Examples:
  dslactl policy set deadline --min-quality 98% --target-drain 5m
  dslactl policy set static --static-plan 4
  dslactl policy set --idle-window 22:00-06:00 --canary-share 5%
  dslactl policy explain 17
  dslactl policy simulate trace.csv
)";

struct PolicyOptions {
  schema::SetPolicy request;
  std::string policy;  // empty: stays
};

Result<Exit> set(const Globals& globals, const PolicyOptions& options) {
  schema::SetPolicy request = options.request;
  if (!options.policy.empty()) {
    schema::PolicyKind kind{};
    if (!schema::parse_word(options.policy, kind))
      return invalid_argument(fmt::format("policy '{}' is none of {}", options.policy, kPolicyWords));
    request.policy = kind;
  }
  const bool nothing = !request.policy && !request.static_plan && !request.min_quality &&
                       !request.target_drain_ms && !request.dwell_ms && !request.idle_after_ms &&
                       !request.idle_window && !request.canary_share && !request.min_agreement;
  if (nothing) {
    return invalid_argument(
        fmt::format("nothing to set: name a policy ({}) or one of the options of dslactl policy set --help; "
                    "dslactl policy show tells what is in force",
                    kPolicyWords));
  }
  if (Status status = request.validate(); !status) return status.error();
  return ask<schema::PolicyReply>(globals, request, policy_text);
}

void add_set(CLI::App& policy, Action& action) {
  CLI::App* verb = policy.add_subcommand("set", "Change who decides, or what must hold; the rest stays");
  auto options = std::make_shared<PolicyOptions>();
  schema::SetPolicy& request = options->request;
  verb->fallthrough();
  CLI::Option* word = verb->add_option("POLICY", options->policy, fmt::format("One of {}", kPolicyWords));
  verb->add_option("--policy", options->policy, "The same as an option")->excludes(word)->type_name("POLICY");
  verb->add_option("--static-plan", request.static_plan, "The plan of the policy static")
      ->check(CLI::Range(std::uint32_t{0}, static_cast<std::uint32_t>(schema::kMaxLayers)))
      ->type_name("N");
  add_share(*verb, "--min-quality", request.min_quality,
            "No job runs on a plan of less measured quality, relative to plan 0: 0.98 or 98%");
  add_duration(*verb, "--target-drain", request.target_drain_ms,
               "How soon a job without a deadline should end: 90s, 10m, 2h");
  add_duration(*verb, "--dwell", request.dwell_ms, "How long a plan is kept before a smaller one", 0);
  add_duration(*verb, "--idle-after", request.idle_after_ms,
               "Time without jobs after which idle work begins; 0: never", 0);
  verb->add_option("--idle-window", request.idle_window,
                   "Hours of the day for idle work, in the daemon's local time: 22:00-06:00")
      ->type_name("FROM-TO");
  add_share(*verb, "--canary-share", request.canary_share,
            "Of the jobs on plans above 0, those that idle time runs again on plan 0, to compare");
  add_share(*verb, "--min-agreement", request.min_agreement,
            "No job is given a plan whose answers agree less with plan 0's");
  verb->callback(
      [options, &action] { action = [options](const Globals& globals) { return set(globals, *options); }; });
}

void add_explain(CLI::App& policy, Action& action) {
  CLI::App* verb = policy.add_subcommand(
      "explain",
      "Why the plan in force is what it is; of a job: which plan it has, or would get now, and why");
  auto job = std::make_shared<std::optional<schema::JobId>>();
  verb->fallthrough();
  verb->add_option("JOB", *job, "Id of a job; without it, the plan in force");
  verb->callback([job, &action] {
    action = [job](const Globals& globals) {
      return *job ? ask<schema::JobVerdict>(globals, schema::ExplainJob{**job}, verdict_text)
                  : ask<schema::PolicyReply>(globals, schema::ShowPolicy{}, explanation_text);
    };
  });
}

Result<Exit> history(const Globals& globals, const schema::GetPolicyHistory& request) {
  if (Status status = request.validate(); !status) return status.error();
  return ask<schema::PolicyHistory>(globals, request, history_text);
}

void add_history(CLI::App& policy, Action& action) {
  CLI::App* verb =
      policy.add_subcommand("history", "Changes of the policy's plan and the load at the time, newest first");
  auto request = std::make_shared<schema::GetPolicyHistory>();
  verb->fallthrough();
  verb->add_option("--limit", request->limit, "At most so many")->capture_default_str()->type_name("N");
  verb->callback([request, &action] {
    action = [request](const Globals& globals) { return history(globals, *request); };
  });
}

}  // namespace

void add_policy(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("policy", "Who decides on which plan each job runs, and why");
  verb->require_subcommand(1);
  verb->add_subcommand("show", "The policy in force and the load that it sees")
      ->fallthrough()
      ->callback([&action] {
        action = [](const Globals& globals) {
          return ask<schema::PolicyReply>(globals, schema::ShowPolicy{}, policy_text);
        };
      });
  add_set(*verb, action);
  add_explain(*verb, action);
  add_history(*verb, action);
  add_policy_simulate(*verb, action);
  verb->footer(kPolicyExamples);
}

}  // namespace dslad::ctl
