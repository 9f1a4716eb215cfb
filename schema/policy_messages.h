// What clients ask of the conversion policy, and what the daemon answers; as in client_messages.h. The policy
// is explained in docs/adaptive.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "schema/job.h"
#include "schema/reports.h"

namespace dslad::schema {

// -> PolicyReply
struct ShowPolicy {
  static constexpr const char* kKind = "policy_show";
  static void fields(auto&, auto&) {}
};

// -> PolicyReply, once it is on disk. Absent keys stay as they are.
struct SetPolicy {
  static constexpr const char* kKind = "policy_set";
  std::optional<PolicyKind> policy;
  std::optional<std::uint32_t> static_plan;
  std::optional<double> min_quality;
  std::optional<std::uint64_t> target_drain_ms;
  std::optional<std::uint64_t> dwell_ms;
  std::optional<std::uint64_t> idle_after_ms;
  std::optional<std::string> idle_window;
  std::optional<double> canary_share;
  std::optional<double> min_agreement;

  static void fields(auto& self, auto& field) {
    field("policy", self.policy);
    field("static_plan", self.static_plan);
    field("min_quality", self.min_quality);
    field("target_drain_ms", self.target_drain_ms);
    field("dwell_ms", self.dwell_ms);
    field("idle_after_ms", self.idle_after_ms);
    field("idle_window", self.idle_window);
    field("canary_share", self.canary_share);
    field("min_agreement", self.min_agreement);
  }
  [[nodiscard]] Status validate() const;
};

// -> JobVerdict: of a job that waits, what would be done with it now; of any other, what was. Or not_found.
struct ExplainJob {
  static constexpr const char* kKind = "policy_explain";
  JobId id = 0;
  static void fields(auto& self, auto& field) { field("id", self.id); }
};

// -> PolicyHistory, newest first.
struct GetPolicyHistory {
  static constexpr const char* kKind = "policy_history";
  std::uint32_t limit = 100;
  static void fields(auto& self, auto& field) { field("limit", self.limit); }
  [[nodiscard]] Status validate() const;
};

// The plan in force of a model that a connected worker serves.
struct PolicyLevel {
  std::string model;
  std::string model_digest;
  std::uint32_t plan = 0;     // the largest that a job is given now on its workers
  std::int64_t since_ms = 0;  // when it became that; 0: it never was another
  std::string why;
  // Engine time that leaving the plan would cost: documents that would be read again. A plan is kept for
  // dwell_ms, and for twenty times this.
  std::uint64_t change_cost_ms = 0;

  static void fields(auto& self, auto& field) {
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("plan", self.plan);
    field("since_ms", self.since_ms);
    field("why", self.why);
    field("change_cost_ms", self.change_cost_ms);
  }
};

struct PolicyReply {
  static constexpr const char* kKind = "policy_reply";
  PolicyKind policy = PolicyKind::kManual;
  std::uint32_t static_plan = 0;
  double min_quality = 0;  // no job runs on a plan below it, whatever the load
  std::uint64_t target_drain_ms = 0;
  std::uint64_t dwell_ms = 0;
  std::string without;  // the part of the policy deadline that is left out (policy.without); empty: none
  std::uint64_t threshold_check_ms = 0;
  std::uint64_t threshold_cooldown_ms = 0;
  std::uint32_t plan = 0;  // the largest of the levels, whose the next two and change_cost_ms are, too
  std::int64_t since_ms = 0;
  std::string why;
  std::uint64_t waiting_jobs = 0;
  std::uint64_t waiting_tokens = 0;  // of prompts, predicted
  std::uint64_t drain_ms = 0;        // predicted
  std::uint64_t change_cost_ms = 0;
  std::vector<PolicyLevel> levels;  // by model; empty: no worker is connected, and no plan is in force
  std::vector<CostModelInfo> cost_models;
  std::uint64_t idle_after_ms = 0;  // time without jobs after which idle work begins; 0: never
  std::string idle_window;          // hours of the day in which it may, "22:00-06:00"; empty: all
  double canary_share = 0;          // of the jobs below plan 0's quality, those that are run again on plan 0
  double min_agreement = 0;         // of a plan's answers with plan 0's, below which no job is given it
  bool idle = false;                // idle work may be done now
  std::vector<PlanAgreement> agreements;
  std::vector<std::string> notes;  // what the one who set this should know, a sentence each

  static void fields(auto& self, auto& field) {
    field("policy", self.policy);
    field("static_plan", self.static_plan);
    field("min_quality", self.min_quality);
    field("target_drain_ms", self.target_drain_ms);
    field("dwell_ms", self.dwell_ms);
    field("without", self.without);
    field("threshold_check_ms", self.threshold_check_ms);
    field("threshold_cooldown_ms", self.threshold_cooldown_ms);
    field("plan", self.plan);
    field("since_ms", self.since_ms);
    field("why", self.why);
    field("waiting_jobs", self.waiting_jobs);
    field("waiting_tokens", self.waiting_tokens);
    field("drain_ms", self.drain_ms);
    field("change_cost_ms", self.change_cost_ms);
    field("levels", self.levels);
    field("cost_models", self.cost_models);
    field("idle_after_ms", self.idle_after_ms);
    field("idle_window", self.idle_window);
    field("canary_share", self.canary_share);
    field("min_agreement", self.min_agreement);
    field("idle", self.idle);
    field("agreements", self.agreements);
    field("notes", self.notes);
  }
};

// Which plan a job has, or would get now, and why.
struct JobVerdict {
  static constexpr const char* kKind = "job_verdict";
  JobId id = 0;
  JobState state = JobState::kQueued;
  std::optional<std::uint32_t> plan;  // absent: nothing was decided, or nobody can say yet
  std::optional<double> quality;
  std::string why;
  std::uint64_t place = 0;
  std::int64_t start_ms = 0;  // predicted, or when it was; 0: not known
  std::int64_t finish_ms = 0;
  std::int64_t deadline_ms = 0;
  bool at_worker = false;  // it is queued, and a worker has it already, with this plan, and begins it next

  static void fields(auto& self, auto& field) {
    field("id", self.id);
    field("state", self.state);
    field("plan", self.plan);
    field("quality", self.quality);
    field("why", self.why);
    field("place", self.place);
    field("start_ms", self.start_ms);
    field("finish_ms", self.finish_ms);
    field("deadline_ms", self.deadline_ms);
    field("at_worker", self.at_worker);
  }
};

// A change of a model's plan by the policy, with the load that caused it.
struct PolicyChange {
  std::int64_t time_ms = 0;
  PolicyKind policy = PolicyKind::kManual;
  std::string model;  // empty, as is the next: from when all models had one plan, and there were several
  std::string model_digest;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::string why;
  std::uint64_t waiting_jobs = 0;
  std::uint64_t waiting_tokens = 0;
  std::uint64_t drain_ms = 0;  // predicted before the change

  static void fields(auto& self, auto& field) {
    field("time_ms", self.time_ms);
    field("policy", self.policy);
    field("model", self.model);
    field("model_digest", self.model_digest);
    field("from", self.from);
    field("to", self.to);
    field("why", self.why);
    field("waiting_jobs", self.waiting_jobs);
    field("waiting_tokens", self.waiting_tokens);
    field("drain_ms", self.drain_ms);
  }
};

struct PolicyHistory {
  static constexpr const char* kKind = "policy_history_reply";
  std::vector<PolicyChange> changes;
  static void fields(auto& self, auto& field) { field("changes", self.changes); }
};

}  // namespace dslad::schema
