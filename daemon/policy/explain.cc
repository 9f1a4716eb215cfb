// Decisions in words.
#include <fmt/format.h>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {
namespace {

double seconds(double ms) {
  return ms / 1000;
}

std::string for_a_deadline(const Decision& decision) {
  if (!decision.raised_for || *decision.raised_for == decision.id)
    return "the smallest plan by which its deadline is met";
  return fmt::format("the smallest plan by which the deadline of job {} is met", *decision.raised_for);
}

std::string late_anyway(const Decision& decision) {
  if (!decision.soonest_ms || !decision.finish_ms)
    return "it misses its deadline on every plan that it allows";
  const double sooner_s = seconds(static_cast<double>(*decision.finish_ms - *decision.soonest_ms));
  return fmt::format("it misses its deadline by {:.1f} s on every plan that it allows{}",
                     seconds(decision.overdue_ms),
                     sooner_s < 0.05 ? ""
                                     : fmt::format(": with the cheapest plans for it and all before it, it "
                                                   "would end {:.1f} s sooner than now",
                                                   sooner_s));
}

// Of one that waits for no deadline.
std::string late_for_target(const Decision& decision, const Settings& settings) {
  return fmt::format("it is wanted within {:.1f} s and ends {:.1f} s late on plan 0",
                     seconds(static_cast<double>(settings.target_drain_ms)), seconds(decision.overdue_ms));
}

constexpr const char* kNoSmaller = "on a smaller plan it does not fit the worker's cache";

// Behind the reason of one that is late.
std::string and_no_larger(const Decision& decision) {
  return decision.bound ? "; " + text_of(*decision.bound) : "";
}

std::string expected(const Expectation& what) {
  return fmt::format("jobs come at {:.3g} a second and are expected for {:.1f} s more", what.a_second,
                     seconds(what.for_ms));
}

}  // namespace

std::string explain(const Decision& decision, const Settings& settings, const Verdict& verdict) {
  const double on_plan_0_s = seconds(verdict.drain_at_plan_0_ms);
  switch (decision.reason) {
    case Reason::kTerms:
      return fmt::format("the job's own terms, or the floor of {:g}, allow no larger plan",
                         settings.min_quality);
    case Reason::kSetting:
      return settings.kind == PolicyKind::kThreshold ? "by the longest prompt and the number of jobs"
                                                     : "one plan for all jobs that allow it";
    case Reason::kChainEnds:
      return fmt::format(
          "plan {} is the largest that a worker which can take it offers{}", decision.plan,
          settings.kind == PolicyKind::kStatic
              ? fmt::format("; plan {} is set for all jobs that allow it", settings.static_plan)
              : "");
    case Reason::kNoLoad:
      return fmt::format("in time on plan 0: what waits takes {:.1f} s", on_plan_0_s);
    case Reason::kOthers:
      return fmt::format(
          "in time on plan 0, as jobs before it are on larger plans: what waits would take "
          "{:.1f} s on plan 0",
          on_plan_0_s);
    case Reason::kNoUse:
      return late_for_target(decision, settings) + "; no plan that it allows makes it earlier";
    case Reason::kBound:
      return late_for_target(decision, settings) + and_no_larger(decision);
    case Reason::kDeadline:
      return for_a_deadline(decision);
    case Reason::kTarget:
      return fmt::format("what waits would take {:.1f} s on plan 0 and is wanted within {:.1f} s",
                         on_plan_0_s, seconds(static_cast<double>(settings.target_drain_ms))) +
             and_no_larger(decision);
    case Reason::kExpected:
      return expected(verdict.expected) + ", and a step that costs little leaves room for them";
    case Reason::kLateAnyway:
      return late_anyway(decision) + and_no_larger(decision) +
             (decision.least ? fmt::format("; {}", kNoSmaller) : "");
    case Reason::kMemory:
      return kNoSmaller;
    case Reason::kUnknownSpeed:
      return "no job has ended yet, so nothing is known of the workers' speed";
    case Reason::kNobody:
      return "no connected worker can take it: its model or its length asks for another one";
  }
  return {};
}

}  // namespace dslad::daemon::policy
