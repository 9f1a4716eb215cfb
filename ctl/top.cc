#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <memory>
#include <string_view>
#include <thread>

#include "ctl/format.h"
#include "ctl/full_screen.h"
#include "ctl/interrupt.h"
#include "ctl/json.h"
#include "ctl/top_frame.h"
#include "ctl/top_source.h"

namespace dslad::ctl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kRunningJobs = 100;  // running ones that are asked for, more than a screen has rows

struct TopOptions {
  double interval_s = 1;
  bool once = false;
  bool no_color = false;

  [[nodiscard]] Clock::duration interval() const {
    return std::chrono::milliseconds(static_cast<std::int64_t>(interval_s * 1000));
  }
};

// What the locale says of the terminal.
bool shows_unicode() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale(value);
    return locale.ends_with("UTF-8") || locale.ends_with("utf8") || locale.ends_with("UTF8") ||
           locale.ends_with("utf-8");
  }
  return false;
}

Result<Exit> show_once(const Globals& globals) {
  TopSource source(globals, [] { return true; });
  const Result<TopView> view = source.look(kRunningJobs);
  if (!view) return view.error();
  if (view->error) return Error{ErrorCode::kUnavailable, *view->error};
  if (globals.json) {
    print(to_json(*view));
    return kOk;
  }
  const TerminalSize page{terminal_width(stdout), 0};
  const auto lines = top_frame(*view, source.throughput(), page, {false, shows_unicode()});
  print(fmt::format("{}\n", fmt::join(lines, "\n")));
  return kOk;
}

Result<Exit> print_objects(const Globals& globals, const TopOptions& options) {
  const InterruptGuard guard;
  TopSource source(globals, [] { return true; });
  for (Clock::time_point next = Clock::now(); !interrupted();) {
    const Result<TopView> view = source.look(kRunningJobs);
    if (interrupted()) break;
    if (!view) return view.error();
    print(to_json(*view));
    if (output_error() != 0) return kUsage;
    next = std::max(next + options.interval(), Clock::now());
    while (!interrupted() && Clock::now() < next) {
      std::this_thread::sleep_for(
          std::min<Clock::duration>(next - Clock::now(), std::chrono::milliseconds(100)));
    }
  }
  return kInterrupted;
}

Result<Exit> show_live(const Globals& globals, const TopOptions& options) {
  const InterruptGuard guard;
  FullScreen screen;
  const TopStyle style{!options.no_color && takes_colour(stdout), shows_unicode()};
  TopSource source(globals, [&screen] { return screen.goes_on(); });
  const auto draw = [&](const TopView& view) {
    const TerminalSize size = FullScreen::size();
    screen.draw(top_frame(view, source.throughput(), size, style), size);
  };
  TopView view;
  view.url = globals.url;
  view.time_ms = wall_ms();
  draw(view);
  for (Clock::time_point next = Clock::now(); screen.goes_on();) {
    Result<TopView> seen = source.look(kRunningJobs);
    if (!screen.goes_on()) break;
    if (!seen) return seen.error();
    view = std::move(*seen);
    next = std::max(next + options.interval(), Clock::now());
    do {
      draw(view);
      screen.wait_until(next);
    } while (screen.goes_on() && Clock::now() < next);
  }
  return interrupted() ? kInterrupted : kOk;
}

Result<Exit> top(const Globals& globals, const TopOptions& options) {
  if (options.once || (!globals.json && !is_terminal(stdout))) return show_once(globals);
  return globals.json ? print_objects(globals, options) : show_live(globals, options);
}

}  // namespace

void add_top(CLI::App& app, Action& action) {
  CLI::App* verb =
      app.add_subcommand("top", "The service at a glance, live: queue, workers, plans, throughput");
  auto options = std::make_shared<TopOptions>();
  verb->add_option("--interval", options->interval_s, "Seconds between looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str()
      ->type_name("SECONDS");
  verb->add_flag("--once", options->once,
                 "Print one look as plain text; so it is where the output is no terminal");
  verb->add_flag("--no-color", options->no_color, "No colours");
  verb->callback(
      [options, &action] { action = [options](const Globals& globals) { return top(globals, *options); }; });
}

}  // namespace dslad::ctl
