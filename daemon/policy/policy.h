// The conversion policy: which plan each job that waits is to run on, and why. docs/adaptive.md explains it.
//
// Pure: no I/O and no clock; the same input gives the same verdict. In order of importance: no job below its
// quality floor; deadlines; as much quality, weighted by tokens, as they allow; few changes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/policy/arrivals.h"
#include "daemon/policy/bound.h"
#include "daemon/policy/candidates.h"
#include "daemon/policy/cost_model.h"
#include "daemon/policy/facts.h"
#include "daemon/policy/reservation.h"
#include "schema/job.h"

namespace dslad::daemon::policy {

using schema::PolicyKind;

// As in the DSLA paper's published code: a step of one layer at a time, by the longest prompt and the number
// of jobs that wait.
struct ThresholdRules {
  double high_tokens = 1024, low_tokens = 819;
  std::uint64_t high_jobs = 50, low_jobs = 25;
  std::int64_t check_ms = 5'000, cooldown_ms = 60'000;
  double most_layers = 0.75;  // of the model's
};

// Work that nobody waits for.
struct IdleRules {
  std::int64_t after_ms = 60'000;  // time without jobs before it begins; 0: never
  std::string window;              // hours of the day in which it may be done (schema/day_window.h)
  double canary_share = 0.02;      // of the jobs on plans above 0, those that are run again on plan 0
  double min_agreement = 0.5;      // with plan 0's answers, below which a plan is given to no job
};

// What the policy `deadline` does without, so that its parts can be compared.
struct Without {
  bool own_plans = false;  // every job is given the level, as far as its terms allow it
  bool lengths = false;    // a job is taken for the mean of those that wait: they are but counted
};

struct Settings {
  PolicyKind kind = PolicyKind::kDeadline;
  std::uint32_t static_plan = 0;
  double min_quality = 0.95;  // relative to plan 0; plans that were not measured need a floor of 0
  std::int64_t target_drain_ms = 60'000;  // how soon a job without a deadline should end
  std::int64_t dwell_ms = 10'000;         // how long a level is kept before a lower one, at least
  bool anticipate = true;                 // jobs that are expected count, too
  Without without = {};
  ThresholdRules threshold = {};
  IdleRules idle = {};
};

// Leaves out the part with this name, "expectation" (of jobs), "own_plans" or "lengths"; nothing for any
// other.
void leave_out(std::string_view part, Settings& settings);
// Its name; empty: nothing is left out.
std::string_view left_out(const Settings& settings);

// A model's plan in force, and what moves it.
struct Level {
  std::uint32_t plan = 0;  // the largest that a job on a worker of the model is given
  std::int64_t since = 0;
  std::uint32_t needed = 0;  // the largest that was needed within the dwell
  std::int64_t needed_at = 0;
  std::int64_t checked_at = 0;  // by the threshold policy, as is the next
  std::int64_t swapped_at = 0;
};

// What the policy remembers from one decision to the next.
struct History {
  std::map<std::string, Level> levels;  // by WorkerFacts::model_digest; of a model without workers its last
  Arrivals arrivals;

  [[nodiscard]] std::uint32_t level_of(const std::string& model_digest) const;  // 0 of one that is unknown
};

enum class Reason : std::uint8_t {
  kTerms,         // the job's own terms
  kSetting,       // the static plan, or the threshold's
  kChainEnds,     // that one is larger than what workers offer
  kNoLoad,        // in time on plan 0
  kOthers,        // in time on plan 0, as jobs before it are made cheaper
  kNoUse,         // late for its target on plan 0, and a larger plan would not help
  kBound,         // late for its target on plan 0, and no larger plan is allowed
  kDeadline,      // the smallest plan by which a deadline is met, its own or another job's
  kTarget,        // the smallest plan by which what waits is done within the target
  kExpected,      // a cheap step that leaves room for jobs that are expected
  kLateAnyway,    // no plan helps
  kMemory,        // it does not fit the cache on a smaller plan
  kUnknownSpeed,  // no job has ended yet
  kNobody,        // no connected worker can take it
};

struct Decision {
  std::int64_t id = 0;
  std::string model_digest;  // of the worker on which it is laid out; empty: nobody can take it
  std::uint32_t plan = 0;
  std::optional<double> quality;  // of that plan, relative to plan 0
  Reason reason = Reason::kNoLoad;
  std::optional<std::int64_t> start_ms;  // predicted; absent: not known
  std::optional<std::int64_t> finish_ms;
  bool late = false;                       // it misses its deadline
  std::optional<std::int64_t> soonest_ms;  // its end were it, and all before it, as cheap as they may be
  std::optional<std::int64_t> raised_for;  // the job that would be late, were this one not made cheaper
  double overdue_ms = 0;       // by which it misses its deadline or its target, predicted; 0: it does not
  std::optional<Bound> bound;  // of one that misses it on the largest plan that it may run on
  Reservation reservation;     // which workers leave it to another
  bool least = false;          // it does not fit the cache on a smaller plan
};

// What waits, of all jobs or of those that are laid out on one model's workers.
struct Load {
  std::size_t jobs = 0;
  double waiting_tokens = 0;  // of prompts
  double drain_ms = 0;        // until all is done, as decided; 0 where nothing is known
  double drain_at_plan_0_ms = 0;
};

struct ModelVerdict {
  Load load;
  std::string why;            // of its level, where that has changed
  double change_cost_ms = 0;  // engine time, if the level in force were left
};

struct Verdict : Load {
  std::vector<Decision> decisions;             // in the order in which the jobs run
  std::map<std::string, ModelVerdict> models;  // that are served, by digest
  History history;                             // for the next decision
  Expectation expected;
};

// Whether `a` has its turn before `b`: priority, then the earlier turn, then the smaller id.
bool runs_before(const WaitingJob& a, const WaitingJob& b);

// `jobs` in any order. Under the policy `manual` it predicts what becomes of them on the history's levels,
// which it leaves as they are.
Verdict decide(const Settings& settings, const History& history, const std::vector<WaitingJob>& jobs,
               const std::vector<WorkerFacts>& workers, const CostModels& costs, std::int64_t now_ms);

// The decision in words, with what it was made on.
std::string explain(const Decision& decision, const Settings& settings, const Verdict& verdict);

}  // namespace dslad::daemon::policy
