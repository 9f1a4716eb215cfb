#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>

#include "ctl/follow.h"
#include "ctl/format.h"
#include "ctl/json.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

struct WaitOptions {
  std::vector<schema::JobId> ids;
  std::optional<double> timeout_s;
  bool quiet = false;
};

void print_end(const schema::JobInfo& job) {
  const std::string state = coloured(stdout, job.state, to_string(job.state));
  const double ms = static_cast<double>(job.ended_ms - job.created_ms);
  std::string line = fmt::format("job {} {} after {}", job.id, state, format_duration(ms));
  if (job.state != schema::JobState::kSucceeded && job.error) line += ": " + one_line(job.error->message);
  print(line + "\n");
}

Result<Exit> wait(const Globals& globals, const WaitOptions& options) {
  Result<Client> client = Client::open(globals);
  if (!client) return client.error();
  FollowOptions follow_options;
  if (options.timeout_s) {
    follow_options.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(*options.timeout_s * 1000));
  }
  follow_options.quiet = options.quiet;
  follow_options.ended = [&globals](Client&, const schema::JobInfo& job) {
    if (globals.json) {
      print(to_json(job));
    } else {
      print_end(job);
    }
    return ok_status();
  };
  return follow(globals, *client, options.ids, follow_options);
}

}  // namespace

void add_wait(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("wait", "Wait until jobs have ended; prints a line for each");
  auto options = std::make_shared<WaitOptions>();
  verb->add_option("ID", options->ids, "Ids of jobs")->required();
  verb->add_option("--timeout", options->timeout_s, "Give up after so many seconds (exit status 1)")
      ->check(CLI::Range(0.0, 1e9))
      ->type_name("S");
  verb->add_flag("-q,--quiet", options->quiet, "No progress on standard error");
  verb->callback(
      [options, &action] { action = [options](const Globals& globals) { return wait(globals, *options); }; });
}

}  // namespace dslad::ctl
