#include "daemon/policy/level.h"

#include <algorithm>
#include <fmt/format.h>
#include <string>
#include <utility>

#include "daemon/policy/change_cost.h"

namespace dslad::daemon::policy {
namespace {

void set_level(std::uint32_t level, std::int64_t now_ms, std::string why, Verdict& verdict) {
  verdict.history.level = level;
  verdict.history.level_since = now_ms;
  verdict.why = std::move(why);
}

std::uint32_t largest_needed(const Verdict& verdict) {
  std::uint32_t needed = 0;
  for (const Decision& one : verdict.decisions) {
    if (one.reason != Reason::kMemory) needed = std::max(needed, one.plan);
  }
  return needed;
}

// Where nobody else needs the level.
std::string for_expected(std::uint32_t level, const Verdict& verdict) {
  for (const Decision& one : verdict.decisions) {
    if (one.plan == level && one.reason != Reason::kExpected) return {};
  }
  return fmt::format("; jobs come at {:.3g} a second and are expected for {:.0f} s more",
                     verdict.expected.a_second, verdict.expected.for_ms / 1000);
}

}  // namespace

void follow_threshold(const ThresholdRules& rules, const QueueLength& queue, std::int64_t now_ms,
                      Verdict& verdict) {
  History& history = verdict.history;
  if (now_ms - history.checked_at < rules.check_ms) return;
  history.checked_at = now_ms;
  if (history.swapped_at != 0 && now_ms - history.swapped_at < rules.cooldown_ms) return;
  const auto most = static_cast<std::uint32_t>(rules.most_layers * queue.layers);
  const bool high = queue.longest_tokens >= rules.high_tokens || queue.jobs >= rules.high_jobs;
  const bool low = queue.longest_tokens < rules.low_tokens && queue.jobs < rules.low_jobs;
  const bool up = high && history.level < most;
  if (!up && (!low || history.level == 0)) return;
  history.swapped_at = now_ms;
  set_level(up ? history.level + 1 : history.level - 1, now_ms,
            fmt::format("{} jobs wait, the longest has {:.0f} tokens", queue.jobs, queue.longest_tokens),
            verdict);
}

void follow_level(const Settings& settings, std::int64_t now_ms, Verdict& verdict) {
  History& history = verdict.history;
  if (settings.kind == PolicyKind::kThreshold || settings.kind == PolicyKind::kManual) return;
  if (settings.kind == PolicyKind::kStatic) {
    if (history.level != settings.static_plan)
      set_level(settings.static_plan, now_ms, "it is the static plan", verdict);
    return;
  }
  const std::uint32_t needed = largest_needed(verdict);
  const std::int64_t dwell_ms = dwell_for(verdict.change_cost_ms, settings.dwell_ms);
  if (needed >= history.needed || now_ms - history.needed_at >= dwell_ms) {
    history.needed = needed;
    history.needed_at = now_ms;
  }
  if (needed > history.level) {
    set_level(needed, now_ms,
              fmt::format("what waits would take {:.0f} s on plan 0, and {:.0f} s now{}",
                          verdict.drain_at_plan_0_ms / 1000, verdict.drain_ms / 1000,
                          for_expected(needed, verdict)),
              verdict);
  } else if (history.needed < history.level && now_ms - history.level_since >= dwell_ms) {
    set_level(
        history.needed, now_ms,
        fmt::format("for {:.0f} s plan {} was enough", static_cast<double>(dwell_ms) / 1000, history.needed),
        verdict);
  }
}

}  // namespace dslad::daemon::policy
