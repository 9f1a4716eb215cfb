// dslactl: the tool of those who hand jobs to dslad and of those who operate it. This file only wires.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "ctl/format.h"
#include "ctl/terminal.h"
#include "ctl/verb.h"
#include "schema/endpoint.h"

namespace {

using namespace dslad;
using namespace dslad::ctl;

constexpr const char* kFooter = R"(
Examples:
  dslactl submit summarize report.txt minutes.txt      two jobs, two ids
  dslactl submit qa --document report.txt --question "Who signed it?" --question "When?" --wait
  pdftotext paper.pdf - | dslactl submit summarize - --wait > summary.txt
  dslactl wait 1 2 --timeout 60 && dslactl result 1 2
  dslactl result 1 --json | jq -r '.outputs[].text'
  dslactl list --state failed
  dslactl top                                          the service at a glance; q ends it
  dslactl submit batch rows.jsonl --output out.jsonl   many jobs; the same again goes on after any interruption
  dslactl submit summarize *.txt --deadline 2h --min-quality 98%
  dslactl policy explain 1
  dslactl plan set 4

Exit status: 0 ok, 1 a job failed or has not ended in time, or integrity has found something, 2 wrong usage or
input, 3 no daemon answers, 4 the daemon refused, 130 Ctrl-C while waiting (the jobs go on).
)";

int exit_status(ErrorCode code) {
  if (code == ErrorCode::kInvalidArgument) return kUsage;
  return code == ErrorCode::kUnavailable ? kUnreachable : kRefused;
}

void add_globals(CLI::App& app, Globals& globals) {
  globals.url = schema::kDefaultJobsUrl;
  app.add_option("--connect", globals.url, "The daemon's jobs socket")
      ->envname(schema::kConnectVariable)
      ->capture_default_str()
      ->type_name("URL");
  app.add_option("--server-key", globals.keys.server,
                 "The daemon's public key, for tcp (default: ~/.config/dslad/server.pub)")
      ->envname(keys::kServerKeyVariable)
      ->type_name("FILE");
  app.add_option("--key", globals.keys.own, "Your own key, for tcp (default: ~/.config/dslad/key)")
      ->envname(keys::kOwnKeyVariable)
      ->type_name("FILE");
  app.add_option("--rpc-timeout", globals.rpc_timeout_s,
                 "Seconds without an answer until the daemon counts as gone")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str()
      ->type_name("S");
  app.add_flag("--json", globals.json, "One line of JSON for each answer");
}

// CLI11 reports a misspelt verb as a missing one.
int usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> unknown = app.remaining(true);
  const std::string why =
      unknown.empty() ? error.what() : fmt::format("'{}' is not understood", unknown.front());
  print_error(
      fmt::format("dslactl: {}; dslactl --help, or --help after a verb, tells more\n", printable(why)));
  return kUsage;
}

int run(int argc, char** argv) {
  CLI::App app("Hands documents to dslad and looks after its queue.", "dslactl");
  Globals globals;
  Action action;
  app.set_version_flag("--version", "dslactl " DSLAD_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --json and the others may follow the verb
  add_globals(app, globals);
  for (auto* add : {add_submit, add_status,  add_list,   add_wait,   add_result,    add_batch, add_watch,
                    add_cancel, add_requeue, add_modes,  add_purge,  add_layers,    add_plan,  add_policy,
                    add_stats,  add_top,     add_report, add_backup, add_integrity, add_keygen}) {
    add(app, action);
  }
  app.footer(kFooter);  // after the verbs, which would inherit it
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    return usage_error(app, error);
  }
  const Result<Exit> result = action(globals);
  if (result) return *result;
  print_error(fmt::format("dslactl: {}\n", printable(result.error().message)));
  return exit_status(result.error().code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int status = run(argc, argv);
    if (output_error() == 0) return status;
    print_error(fmt::format("dslactl: cannot write to standard output: {}\n",
                            std::generic_category().message(output_error())));
    return kUsage;
  } catch (const std::exception& error) {
    print_error(fmt::format("dslactl: internal error: {}\n", error.what()));
    return kRefused;
  }
}
