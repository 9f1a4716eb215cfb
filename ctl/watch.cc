#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <string_view>

#include "ctl/client.h"
#include "ctl/format.h"
#include "ctl/interrupt.h"
#include "ctl/json.h"
#include "ctl/progress.h"
#include "ctl/subscription.h"
#include "ctl/terminal.h"

namespace dslad::ctl {
namespace {

using schema::Event;

constexpr std::chrono::seconds kProbe{5};  // a silent daemon may be a dead one
constexpr std::size_t kShownJobs = 10;

std::string describe(const Event& event) {
  std::string line = format_clock(event.time_ms);
  if (event.job) line += fmt::format("  job {}", *event.job);
  if (event.state) line += "  " + coloured(stdout, *event.state, to_string(*event.state));
  if (event.topic == schema::kTopicWorkerUp) line += "  worker up";
  if (event.topic == schema::kTopicWorkerDown) line += "  worker down";
  if (event.topic == schema::kTopicPlan && event.plan) line += fmt::format("  plan {}", *event.plan);
  if (event.change) {
    line += fmt::format("  layer {}: {} -> {}: {}", event.change->layer, to_string(event.change->from),
                        to_string(event.change->to), one_line(event.change->reason));
  }
  if (event.attempt && *event.attempt > 1) line += fmt::format("  attempt {}", *event.attempt);
  if (event.worker && !event.worker->empty()) line += "  on " + one_line(*event.worker);
  if (event.reason && !event.reason->empty()) line += ": " + one_line(*event.reason);
  if (event.error) line += ": " + one_line(event.error->message);
  return line + "\n";
}

// Prints events; on a terminal the running jobs' bars stay at the bottom.
class Screen {
 public:
  explicit Screen(bool json) : json_(json), live_(!json && is_terminal(stderr)) {}

  void add(const Event& event) {
    if (json_) return print(to_json(event));
    track(event);
    if (event.topic != schema::kTopicJobProgress) {
      block_.erase();
      print(describe(event));
    }
    if (live_) draw();
  }

 private:
  void track(const Event& event) {
    if (!event.job) return;
    if (event.state && *event.state != schema::JobState::kRunning) {
      running_.erase(*event.job);
      return;
    }
    schema::JobInfo& job = running_[*event.job];
    job.id = *event.job;
    job.state = schema::JobState::kRunning;
    job.progress = event.progress.value_or(schema::Progress{});
  }

  void draw() {
    std::vector<std::string> lines;
    for (const auto& [id, job] : running_) {
      if (lines.size() < kShownJobs) lines.push_back(fmt::format("job {:<6} {}", id, progress_text(job)));
    }
    block_.show(lines);
  }

  bool json_;
  bool live_;
  LiveBlock block_;
  std::map<schema::JobId, schema::JobInfo> running_;
};

Result<Exit> watch(const Globals& globals, const std::string& events_url) {
  const InterruptGuard guard;
  Result<Client> client = Client::open(globals);
  if (interrupted()) return kInterrupted;
  if (!client) return client.error();
  const auto status = client->call<schema::DaemonStatus>(schema::GetStatus{});
  if (interrupted()) return kInterrupted;
  if (!status) return status.error();
  const std::string& url = events_url.empty() ? status->events_url : events_url;
  Result<Subscription> events = Subscription::open(url, globals.keys);
  if (!events) return events.error();
  print_error(fmt::format("watching {}; Ctrl-C ends it\n", url));
  Screen screen(globals.json);
  while (!interrupted()) {
    const Result<std::optional<Event>> event = events->next(kProbe);
    if (!event) return event.error();
    if (*event) {
      screen.add(**event);
    } else if (const auto pong = client->call<schema::Pong>(schema::Ping{}); !pong && !interrupted()) {
      return pong.error();
    }
  }
  return kInterrupted;
}

}  // namespace

void add_watch(CLI::App& app, Action& action) {
  CLI::App* verb = app.add_subcommand("watch", "Print what happens, as it happens");
  auto url = std::make_shared<std::string>();
  verb->add_option("--events", *url, "URL of the events socket; default: the daemon says it")
      ->type_name("URL");
  verb->callback([url, &action] { action = [url](const Globals& globals) { return watch(globals, *url); }; });
}

}  // namespace dslad::ctl
