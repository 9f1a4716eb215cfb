#include "daemon/policy/level.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <utility>

#include "daemon/policy/change_cost.h"

namespace dslad::daemon::policy {
namespace {

constexpr std::uint32_t kAnyPlan = std::numeric_limits<std::uint32_t>::max();

std::string set_level(std::uint32_t plan, std::int64_t now_ms, std::string why, Level& level) {
  level.plan = plan;
  level.since = now_ms;
  return why;
}

std::uint32_t largest_needed(const Verdict& verdict, const std::string& model) {
  std::uint32_t needed = 0;
  for (const Decision& one : verdict.decisions) {
    if (one.model_digest == model && one.reason != Reason::kMemory) needed = std::max(needed, one.plan);
  }
  return needed;
}

// Where nobody else needs the level.
std::string for_expected(std::uint32_t level, const Verdict& verdict, const std::string& model) {
  for (const Decision& one : verdict.decisions) {
    if (one.model_digest == model && one.plan == level && one.reason != Reason::kExpected) return {};
  }
  return fmt::format("; jobs come at {:.3g} a second and are expected for {:.0f} s more",
                     verdict.expected.a_second, verdict.expected.for_ms / 1000);
}

std::string why_static(std::uint32_t wanted, std::uint32_t offered, std::uint32_t taken, double floor) {
  if (taken == wanted) return "it is the static plan";
  if (taken == offered)
    return fmt::format("plan {} is static, and no worker offers one above {}", wanted, taken);
  return fmt::format("plan {} is static, and the floor of {:g} allows none above {}", wanted, floor, taken);
}

// One model's level, of the decisions that are its own.
class Following {
 public:
  Following(const Settings& settings, const std::vector<WorkerFacts>& workers, const std::string& model,
            std::int64_t now_ms, Verdict& verdict)
      : settings_(settings),
        workers_(workers),
        model_(model),
        now_ms_(now_ms),
        verdict_(verdict),
        own_(verdict.models.at(model)),
        level_(verdict.history.levels.at(model)) {}

  void run() {
    switch (settings_.kind) {
      case PolicyKind::kManual:
        break;
      case PolicyKind::kStatic:
        take_static();
        break;
      case PolicyKind::kThreshold:
        leave_what_is_gone();
        break;
      case PolicyKind::kDeadline:
        follow_needs();
        break;
    }
  }

 private:
  void take_static() {
    const std::uint32_t wanted = settings_.static_plan;
    const std::uint32_t taken = most_allowed(workers_, model_, wanted, settings_.min_quality);
    if (level_.plan == taken) return;
    const std::uint32_t offered = most_allowed(workers_, model_, wanted, 0);
    own_.why = set_level(taken, now_ms_, why_static(wanted, offered, taken, settings_.min_quality), level_);
  }

  bool leave_what_is_gone() {
    const std::uint32_t most = most_allowed(workers_, model_, kAnyPlan, settings_.min_quality);
    if (level_.plan <= most) return false;
    own_.why =
        set_level(most, now_ms_,
                  fmt::format("plan {} is the largest that a worker offers and the floor of {:g} allows",
                              most, settings_.min_quality),
                  level_);
    return true;
  }

  void follow_needs() {
    // A job that any model may answer can be given a plan that only another one offers.
    const std::uint32_t needed = std::min(largest_needed(verdict_, model_),
                                          most_allowed(workers_, model_, kAnyPlan, settings_.min_quality));
    const std::int64_t dwell_ms = dwell_for(own_.change_cost_ms, settings_.dwell_ms);
    if (needed >= level_.needed || now_ms_ - level_.needed_at >= dwell_ms) {
      level_.needed = needed;
      level_.needed_at = now_ms_;
    }
    if (needed > level_.plan) {
      own_.why = set_level(needed, now_ms_,
                           fmt::format("what waits would take {:.0f} s on plan 0, and {:.0f} s now{}",
                                       own_.load.drain_at_plan_0_ms / 1000, own_.load.drain_ms / 1000,
                                       for_expected(needed, verdict_, model_)),
                           level_);
    } else if (!leave_what_is_gone() && level_.needed < level_.plan && now_ms_ - level_.since >= dwell_ms) {
      own_.why = set_level(
          level_.needed, now_ms_,
          fmt::format("for {:.0f} s plan {} was enough", static_cast<double>(dwell_ms) / 1000, level_.needed),
          level_);
    }
  }

  const Settings& settings_;
  const std::vector<WorkerFacts>& workers_;
  const std::string& model_;
  std::int64_t now_ms_;
  Verdict& verdict_;
  ModelVerdict& own_;
  Level& level_;
};

}  // namespace

std::uint32_t History::level_of(const std::string& model_digest) const {
  const auto found = levels.find(model_digest);
  return found == levels.end() ? 0 : found->second.plan;
}

std::uint32_t most_allowed(const std::vector<WorkerFacts>& workers, const std::string& model_digest,
                           std::uint32_t plan, double min_quality) {
  std::uint32_t most = 0;
  for (const WorkerFacts& worker : workers) {
    if (worker.model_digest == model_digest)
      most = std::max(most, cap(worker, plan, min_quality, std::nullopt));
  }
  return most;
}

void keep_levels(const std::vector<WorkerFacts>& workers, History& history) {
  std::erase_if(history.levels, [&](const auto& one) {
    return one.second.plan == 0 &&
           std::none_of(workers.begin(), workers.end(),
                        [&](const WorkerFacts& worker) { return worker.model_digest == one.first; });
  });
  for (const WorkerFacts& worker : workers) history.levels.try_emplace(worker.model_digest);
}

std::string follow_threshold(const ThresholdRules& rules, const QueueLength& queue, std::uint32_t most,
                             std::int64_t now_ms, Level& level) {
  if (now_ms - level.checked_at < rules.check_ms) return {};
  level.checked_at = now_ms;
  if (level.swapped_at != 0 && now_ms - level.swapped_at < rules.cooldown_ms) return {};
  most = std::min(most, static_cast<std::uint32_t>(rules.most_layers * queue.layers));
  const bool high = queue.longest_tokens >= rules.high_tokens || queue.jobs >= rules.high_jobs;
  const bool low = queue.longest_tokens < rules.low_tokens && queue.jobs < rules.low_jobs;
  const bool up = high && level.plan < most;
  if (!up && (!low || level.plan == 0)) return {};
  level.swapped_at = now_ms;
  return set_level(
      up ? level.plan + 1 : level.plan - 1, now_ms,
      fmt::format("{} jobs wait, the longest has {:.0f} tokens", queue.jobs, queue.longest_tokens), level);
}

void follow_levels(const Settings& settings, const std::vector<WorkerFacts>& workers, std::int64_t now_ms,
                   Verdict& verdict) {
  for (const auto& [model, own] : verdict.models) Following(settings, workers, model, now_ms, verdict).run();
}

}  // namespace dslad::daemon::policy
