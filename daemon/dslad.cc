// dslad: reads the command line and the configuration, opens the daemon, runs it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "base/process/log.h"
#include "daemon/config.h"
#include "daemon/daemon.h"

namespace dslad::daemon {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitRefused = 4;
constexpr const char* kConfigFile =
    "/etc/dslad/dslad.toml";  // read where it exists, unless --config is given

struct Arguments {
  std::string config_file;
  std::vector<std::string> settings;
  std::optional<std::string> state_dir, jobs, workers, events;
  bool check_config = false;
};

void declare(CLI::App& app, Arguments& arguments) {
  app.add_option("--config", arguments.config_file,
                 "configuration file (default: /etc/dslad/dslad.toml, if there)");
  app.add_option("--set", arguments.settings, "one setting, KEY=VALUE; may be given again")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option("--state-dir", arguments.state_dir, "folder of the database; store.state_dir");
  app.add_option("--jobs", arguments.jobs, "URL for clients; listen.jobs");
  app.add_option("--workers", arguments.workers, "URL for workers; listen.workers");
  app.add_option("--events", arguments.events, "URL for watchers; listen.events");
  app.add_flag("--check-config", arguments.check_config,
               "read the configuration, say whether it is right, and end");
  app.set_version_flag("--version", std::string("dslad ") + DSLAD_VERSION);
  std::string keys = "Settings:\n";
  for (const ConfigKey& key : config_keys()) {
    keys += fmt::format("  {:<31}{}; {} (default {}){}\n", key.name, key.what, key.range, key.value,
                        key.reloads ? "; SIGHUP changes it" : "");
  }
  app.footer(keys);
}

void override_setting(const std::optional<std::string>& argument, std::string_view key, Config& config,
                      ConfigErrors& errors) {
  if (!argument) return;
  for (std::string& error : apply_setting(fmt::format("{}={}", key, *argument), config)) {
    errors.push_back(std::move(error));
  }
}

// File, then --set, then the flags: the nearer to the hand wins.
ConfigErrors read_all(const Arguments& arguments, Config& config) {
  ConfigErrors errors;
  std::error_code hidden;  // a user who may not look there is not served by that file
  if (!arguments.config_file.empty() || std::filesystem::exists(kConfigFile, hidden)) {
    errors = read_config_file(arguments.config_file.empty() ? kConfigFile : arguments.config_file, config);
  }
  for (const std::string& setting : arguments.settings) {
    for (std::string& error : apply_setting(setting, config)) errors.push_back(std::move(error));
  }
  override_setting(arguments.state_dir, "store.state_dir", config, errors);
  override_setting(arguments.jobs, "listen.jobs", config, errors);
  override_setting(arguments.workers, "listen.workers", config, errors);
  override_setting(arguments.events, "listen.events", config, errors);
  if (Status status = config.validate(); errors.empty() && !status) errors.push_back(status.error().message);
  return errors;
}

int fail(const Error& error) {
  process::log_error(error.message, {{"ERROR_CODE", std::string(to_string(error.code))}});
  return error.code == ErrorCode::kRefused ? kExitRefused : kExitFailed;
}

int serve(const Config& config, Reread reread) {
  process::start_logging("dslad", config.log_level);
  ::umask(0007);  // sockets and database: for dslad's user and group, for nobody else
  const Config defaults;
  if (::geteuid() != 0 && config.state_dir == defaults.state_dir &&
      ::access(config.state_dir.c_str(), R_OK | W_OK | X_OK) != 0) {
    return fail(
        {ErrorCode::kUnavailable,
         fmt::format(
             "{} cannot be written by this user; give --state-dir DIR and, with it, --jobs, --workers "
             "and --events URLs that you may create, or run dslad as its own service",
             config.state_dir)});
  }
  const Result<std::unique_ptr<Daemon>> daemon = Daemon::open(config, std::move(reread));
  if (!daemon) return fail(daemon.error());
  const Status status = (*daemon)->run();
  return status ? 0 : fail(status.error());
}

int main(int argc, char** argv) {
  CLI::App app("dslad keeps a durable queue of long-document jobs and hands them to workers.", "dslad");
  Arguments arguments;
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  Config config;
  const ConfigErrors errors = read_all(arguments, config);
  for (const std::string& error : errors) fmt::print(stderr, "dslad: {}\n", error);
  if (!errors.empty()) return kExitUsage;
  if (!arguments.check_config) {
    return serve(config, [&arguments](Config& anew) { return read_all(arguments, anew); });
  }
  fmt::print("ok\n");
  return 0;
}

}  // namespace
}  // namespace dslad::daemon

int main(int argc, char** argv) {
  return dslad::daemon::main(argc, argv);
}
