// How a verb of dslactl is declared: add_*() puts its options on the command line, and parsing one verb
// leaves its action behind, which main runs once. Not thread-safe; one process runs one action.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "schema/keys/client_keys.h"

namespace CLI {
class App;
}

namespace dslad::ctl {

// The process's exit status. Scripts rely on these numbers: docs/manual.md lists them.
enum Exit : int {
  kOk = 0,
  kJobFailed = 1,     // a job failed, was cancelled, expired, or has not ended in time
  kUsage = 2,         // the command line or an input file is wrong
  kUnreachable = 3,   // no daemon answers
  kRefused = 4,       // the daemon answered and did not do it
  kInterrupted = 130  // Ctrl-C while waiting; the jobs go on
};

// Options that every verb takes.
struct Globals {
  std::string url;      // of the jobs socket
  keys::KeyFiles keys;  // for a daemon on tcp
  static constexpr double kRpcTimeoutS = 30;
  double rpc_timeout_s = kRpcTimeoutS;  // without any answer, the daemon counts as not reachable
  bool json = false;

  [[nodiscard]] std::chrono::milliseconds rpc_timeout() const {
    return std::chrono::milliseconds(static_cast<std::int64_t>(rpc_timeout_s * 1000));
  }
};

// Errors: kInvalidArgument for kUsage, kUnavailable for kUnreachable, all others for kRefused.
using Action = std::function<Result<Exit>(const Globals&)>;

void add_submit(CLI::App& app, Action& action);
void add_status(CLI::App& app, Action& action);
void add_list(CLI::App& app, Action& action);
void add_wait(CLI::App& app, Action& action);
void add_result(CLI::App& app, Action& action);
void add_batch(CLI::App& app, Action& action);
void add_watch(CLI::App& app, Action& action);
void add_cancel(CLI::App& app, Action& action);
void add_requeue(CLI::App& app, Action& action);
void add_modes(CLI::App& app, Action& action);  // pause, drain, resume
void add_purge(CLI::App& app, Action& action);
void add_layers(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_policy(CLI::App& app, Action& action);
void add_stats(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_top(CLI::App& app, Action& action);
void add_backup(CLI::App& app, Action& action);
void add_integrity(CLI::App& app, Action& action);
void add_keygen(CLI::App& app, Action& action);

}  // namespace dslad::ctl
