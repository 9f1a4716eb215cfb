#include "ctl/policy_text.h"

#include <algorithm>
#include <fmt/format.h>

#include "ctl/format.h"
#include "ctl/table.h"

namespace dslad::ctl {
namespace {

using schema::JobState;
using schema::JobVerdict;
using schema::PolicyKind;

std::string_view meaning(PolicyKind policy) {
  switch (policy) {
    case PolicyKind::kManual:
      return "a person sets the plan: dslactl plan set";
    case PolicyKind::kStatic:
      return "one plan for all jobs that allow it";
    case PolicyKind::kThreshold:
      return "by the longest prompt and the number of jobs";
    case PolicyKind::kDeadline:
      return "the smallest plan by which what waits is done in time";
  }
  return "";
}

std::string rough(std::uint64_t ms) {
  return format_rough(static_cast<double>(ms));
}

std::string exact(std::uint64_t ms) {
  return format_duration(static_cast<double>(ms));
}

std::string because(const std::string& why) {
  return why.empty() ? "" : ": " + one_line(why);
}

std::string waiting_text(const schema::PolicyReply& reply) {
  if (reply.waiting_jobs == 0) return "no job";
  std::string text =
      fmt::format("{} {}, about {} prompt tokens", format_count(reply.waiting_jobs),
                  reply.waiting_jobs == 1 ? "job" : "jobs", format_count(reply.waiting_tokens));
  return text + (reply.drain_ms == 0 ? ", how long they take is not known yet"
                                     : fmt::format(", done in about {}", rough(reply.drain_ms)));
}

std::string change_text(const schema::PolicyReply& reply) {
  std::uint64_t most_ms = 0;
  for (const schema::PolicyLevel& level : reply.levels) most_ms = std::max(most_ms, level.change_cost_ms);
  if (most_ms == 0) return "";
  return fmt::format("; longer where a change is dear, which now costs {} of reading documents again",
                     exact(most_ms));
}

std::string idle_text(const schema::PolicyReply& reply) {
  if (reply.idle_after_ms == 0) return "idle work: never\n";
  return fmt::format("idle work: after {} without jobs, {}; {} of jobs on plans above 0 are run again; {}\n",
                     exact(reply.idle_after_ms), reply.idle_window.empty() ? "all day" : reply.idle_window,
                     format_share(reply.canary_share), reply.idle ? "it is time now" : "not now");
}

std::string agreements_text(const schema::PolicyReply& reply) {
  std::string text;
  for (const schema::PlanAgreement& one : reply.agreements) {
    text += fmt::format(
        "plan {} of {}: answers agree to {} with plan 0's over {} {}{}\n", one.plan, one_line(one.model),
        format_share(one.agreement), one.jobs, one.jobs == 1 ? "job" : "jobs",
        one.withdrawn ? fmt::format("; below {}, given to no job", format_share(reply.min_agreement)) : "");
  }
  return text;
}

std::string notes_text(const schema::PolicyReply& reply) {
  std::string text;
  for (const std::string& note : reply.notes) text += fmt::format("note: {}\n", one_line(note));
  return text;
}

std::string plan_text(const JobVerdict& verdict) {
  if (*verdict.plan == 0) return "plan 0";
  return verdict.quality
             ? fmt::format("plan {} ({} of plan 0's quality)", *verdict.plan, format_share(*verdict.quality))
             : fmt::format("plan {} (quality not measured)", *verdict.plan);
}

std::string state_text(const JobVerdict& verdict) {
  if (verdict.state == JobState::kRunning) return fmt::format("job {} runs", verdict.id);
  if (verdict.state == JobState::kCancelled) return fmt::format("job {} was cancelled", verdict.id);
  if (is_final(verdict.state)) return fmt::format("job {} {}", verdict.id, to_string(verdict.state));
  if (verdict.at_worker) return fmt::format("job {} waits at its worker, which begins it next", verdict.id);
  return verdict.place == 0 ? fmt::format("job {} waits", verdict.id)
                            : fmt::format("job {} waits, number {} in the queue", verdict.id, verdict.place);
}

std::string decision_text(const JobVerdict& verdict) {
  const bool waits = verdict.state == JobState::kQueued;
  const std::string why = verdict.why.empty() ? "" : fmt::format("why: {}\n", one_line(verdict.why));
  if (!verdict.plan)
    return (waits ? "its plan is decided when it begins\n" : "no plan is recorded of it\n") + why;
  const char* verb = "had";
  if (waits) verb = verdict.at_worker ? "gets" : "would get";
  if (verdict.state == JobState::kRunning) verb = "has";
  return fmt::format("it {} {}\n{}", verb, plan_text(verdict), why);
}

std::string times_text(const JobVerdict& verdict, std::int64_t now_ms) {
  std::string text;
  const bool ended = is_final(verdict.state);
  if (verdict.start_ms != 0) {
    text += fmt::format("{} {}\n", verdict.state == JobState::kQueued ? "begins about" : "began",
                        format_moment(verdict.start_ms, now_ms));
  }
  if (verdict.finish_ms != 0) {
    text += fmt::format("{} {}\n", ended ? "ended" : "done about", format_moment(verdict.finish_ms, now_ms));
  } else if (!ended) {
    text += "when it is done is not known yet\n";
  }
  return text;
}

std::string deadline_text(const JobVerdict& verdict, std::int64_t now_ms) {
  if (verdict.deadline_ms == 0) return "";
  std::string text = "deadline " + format_moment(verdict.deadline_ms, now_ms);
  const std::int64_t end_ms = verdict.finish_ms;
  const bool ended = is_final(verdict.state);
  if (end_ms == 0) return text + "\n";
  const auto spare_ms = static_cast<double>(verdict.deadline_ms - end_ms);
  if (spare_ms < 0) {
    text += fmt::format(": {} {} late", ended ? "it was" : "it will be about", format_rough(-spare_ms));
  } else {
    text += fmt::format(": {} with {} to spare", ended ? "met" : "will be met", format_rough(spare_ms));
  }
  return text + "\n";
}

std::string since_text(std::int64_t since_ms) {
  return since_ms == 0 ? "since the daemon's start" : "since " + format_moment(since_ms, wall_ms());
}

// What would make the plan in force another.
std::string next_text(const schema::PolicyReply& reply) {
  switch (reply.policy) {
    case PolicyKind::kManual:
      return "it stays until a person sets another: dslactl plan set";
    case PolicyKind::kStatic:
      return "it stays until a person sets another: dslactl policy set";
    case PolicyKind::kThreshold:
      return "it rises and falls by a layer with the longest prompt and the number of jobs";
    case PolicyKind::kDeadline:
      break;
  }
  return fmt::format(
      "it rises where what waits would not be done in time, and falls once a smaller one has done it for {}",
      exact(reply.dwell_ms));
}

std::string predictions_text(const schema::PolicyReply& reply) {
  if (reply.cost_models.empty())
    return "predictions: none yet, as no job has shown how fast the workers are\n";
  std::string text;
  for (const schema::CostModelInfo& one : reply.cost_models) {
    text += fmt::format("predictions for {}: off by {} at most in half of {} {}, by {} in nine of ten\n",
                        one_line(one.workers), format_share(one.error_p50), format_count(one.jobs),
                        one.jobs == 1 ? "job" : "jobs", format_share(one.error_p90));
  }
  return text;
}

}  // namespace

std::string of_model(const schema::PolicyReply& reply, const schema::PolicyLevel& level) {
  if (reply.levels.size() == 1) return "";
  const auto named = std::count_if(reply.levels.begin(), reply.levels.end(),
                                   [&](const auto& other) { return other.model == level.model; });
  return fmt::format(" of {}{}", one_line(level.model),
                     named == 1 ? "" : fmt::format(" ({})", one_line(level.model_digest.substr(0, 12))));
}

std::string explanation_text(const schema::PolicyReply& reply) {
  std::string text = reply.levels.empty() ? "no plan is in force: no worker is connected\n" : "";
  for (const schema::PolicyLevel& level : reply.levels) {
    text += fmt::format("plan {}{} is in force, {}\n", level.plan, of_model(reply, level),
                        since_text(level.since_ms));
    if (!level.why.empty()) text += fmt::format("why: {}\n", one_line(level.why));
  }
  text += fmt::format("policy {}: {}\n", to_string(reply.policy), meaning(reply.policy));
  text += next_text(reply) + "\n";
  if (reply.policy != PolicyKind::kManual)
    text +=
        fmt::format("no job is given a plan below {} of plan 0's quality\n", format_share(reply.min_quality));
  text += fmt::format("waiting: {}\n", waiting_text(reply));
  return text + predictions_text(reply) + agreements_text(reply) + notes_text(reply);
}

std::string policy_text(const schema::PolicyReply& reply) {
  std::string text = fmt::format("policy: {} ({})\n", to_string(reply.policy), meaning(reply.policy));
  if (reply.levels.empty()) text += "plan: none in force, as no worker is connected\n";
  for (const schema::PolicyLevel& level : reply.levels) {
    text += fmt::format("plan{}: {} in force, {}{}\n", of_model(reply, level), level.plan,
                        since_text(level.since_ms), because(level.why));
  }
  if (reply.policy == PolicyKind::kStatic) text += fmt::format("static plan: {}\n", reply.static_plan);
  text += fmt::format("least quality: {} of plan 0's\n", format_share(reply.min_quality));
  text +=
      fmt::format("target: a job without a deadline should end within {}\n", exact(reply.target_drain_ms));
  text += fmt::format("dwell: {} before a smaller plan{}\n", exact(reply.dwell_ms), change_text(reply));
  if (!reply.without.empty()) text += fmt::format("left out: {} (policy.without)\n", reply.without);
  text += fmt::format("waiting: {}\n", waiting_text(reply));
  return text + idle_text(reply) + agreements_text(reply) + notes_text(reply);
}

std::string verdict_text(const JobVerdict& verdict) {
  const std::int64_t now_ms = wall_ms();
  return state_text(verdict) + "\n" + decision_text(verdict) + times_text(verdict, now_ms) +
         deadline_text(verdict, now_ms);
}

std::string history_text(const schema::PolicyHistory& history) {
  if (history.changes.empty()) return "the policy has not changed its plan yet\n";
  const schema::PolicyChange& first = history.changes.front();
  const bool one_model = std::all_of(history.changes.begin(), history.changes.end(), [&](const auto& change) {
    return change.model_digest == first.model_digest;
  });
  Table table({"TIME", "POLICY", "MODEL", "PLAN", ">WAITING", ">TOKENS", ">DONE IN", "WHY"});
  for (const schema::PolicyChange& change : history.changes) {
    table.add({format_date(change.time_ms), std::string(to_string(change.policy)),
               one_model ? "" : one_line(change.model),
               change.from == change.to ? std::to_string(change.to)
                                        : fmt::format("{} -> {}", change.from, change.to),
               format_count(change.waiting_jobs), format_count(change.waiting_tokens),
               change.drain_ms == 0 ? "-" : rough(change.drain_ms), one_line(change.why)});
  }
  table.drop_empty();
  return table.text();
}

}  // namespace dslad::ctl
