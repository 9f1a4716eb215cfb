// What policies would make of a trace of jobs on the workers that a daemon has: its answers become a scenario
// of the policy's own simulator (daemon/policy/simulate.h), each worker as fast as was learnt of it. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "ctl/trace.h"
#include "daemon/policy/simulate.h"
#include "schema/client_messages.h"
#include "schema/policy_messages.h"

namespace dslad::ctl {

namespace policy = daemon::policy;

// A policy to be simulated.
struct Contender {
  std::string name;  // as it is written: "deadline", "static:4", "threshold"; "manual" for the plan in force
  policy::Settings settings;
};

// The daemon's own settings, and beside them plan 0 for all jobs.
std::vector<Contender> usual_contenders(const schema::PolicyReply& own);

// deadline, threshold, static (the daemon's static plan) or static:N; everything else is as the daemon has
// it. Errors: kInvalidArgument.
Result<Contender> contender_of(const std::string& text, const schema::PolicyReply& own);

struct Simulation {
  policy::Scenario scenario;         // its settings are a contender's, and how often it decides
  std::int64_t decide_every_ms = 0;  // of policies that look at the load
  std::vector<std::string> workers;
  std::vector<std::string> left_out;  // workers of whose speed nothing is known
  // Jobs whose model no worker serves, and those that no such worker's context takes: they are not part of
  // the scenario.
  std::size_t not_served = 0, too_large = 0;
};

// `speed`: the jobs arrive that many times as fast as in the trace.
// Errors: kRefused where the daemon has no workers, knows nothing of their speed, or none of them takes any
// job.
Result<Simulation> simulation_of(const std::vector<TraceJob>& jobs, double speed,
                                 const schema::DaemonStatus& status, const schema::PolicyReply& own);

// What came of one contender.
struct ContenderOutcome {
  std::string policy;
  std::uint64_t jobs = 0;  // that ended
  double makespan_ms = 0;  // first job's coming to the last one's end
  double p50_ms = 0;       // a job's coming to its end, as are the next
  double p95_ms = 0;
  double p99_ms = 0;
  std::uint64_t with_deadline = 0;
  std::uint64_t missed = 0;
  std::optional<double> quality;  // mean, by prompt tokens; absent: jobs ran on plans that were not measured
  double changes_an_hour = 0;
  double took_ms = 0;  // to simulate

  static void fields(auto& self, auto& field) {
    field("policy", self.policy);
    field("jobs", self.jobs);
    field("makespan_ms", self.makespan_ms);
    field("p50_ms", self.p50_ms);
    field("p95_ms", self.p95_ms);
    field("p99_ms", self.p99_ms);
    field("with_deadline", self.with_deadline);
    field("missed", self.missed);
    field("quality", self.quality);
    field("changes_an_hour", self.changes_an_hour);
    field("took_ms", self.took_ms);
  }
};

// `took_ms` is left to who has a clock.
ContenderOutcome run(Simulation& simulation, const Contender& contender);

struct SimulationReport {
  std::uint64_t jobs = 0;  // of the trace
  std::uint64_t not_served = 0;
  std::uint64_t too_large = 0;
  std::vector<std::string> workers;
  std::vector<std::string> left_out;
  std::vector<ContenderOutcome> policies;

  static void fields(auto& self, auto& field) {
    field("jobs", self.jobs);
    field("not_served", self.not_served);
    field("too_large", self.too_large);
    field("workers", self.workers);
    field("left_out", self.left_out);
    field("policies", self.policies);
  }
};

std::string simulation_text(const SimulationReport& report);

}  // namespace dslad::ctl
