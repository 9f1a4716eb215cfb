// What a policy would have made of a trace of jobs: the very decisions of decide(), made for workers that are
// simulated.
//
// A worker divides its time among its jobs as its engine does (simulated_engine.h); each takes the work that
// the worker's true cost says. It takes the next job when it has a use for it, and the job's plan is what the
// latest decision says. The policy sees sizes in bytes and what it learns from jobs that ended, as the
// daemon does. Events are exact, so that days take seconds. Pure: the same scenario gives the same outcome.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {

struct SimulatedJob {
  WaitingJob job;  // it comes at its submitted_ms
  double prompt_tokens = 0;
  double output_tokens = 0;
};

struct SimulatedWorker {
  WorkerFacts facts;
  CostModel truth;
  std::size_t room = 16;  // jobs at a time
  double noise = 0;       // of a job's work: the standard deviation of its logarithm
};

struct Scenario {
  std::vector<SimulatedJob> jobs;  // in any order; ids differ
  std::vector<SimulatedWorker> workers;
  Settings settings;
  CostModels known;  // at the beginning
  bool learns = true;
  std::int64_t decide_every_ms = 200;  // at most, while every job that could begin has its plan
  std::size_t looks_ahead = 1'000;     // jobs of the queue that a decision sees
  std::uint64_t seed = 1;              // of the noise
};

struct JobOutcome {
  std::size_t index = 0;  // of Scenario::jobs
  std::size_t worker = 0;
  std::uint32_t plan = 0;
  double quality = 0;  // of that plan; 0: not measured
  double start_ms = 0;
  double finish_ms = 0;
};

struct LevelChange {
  std::int64_t at_ms = 0;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  std::string model_digest;
};

struct Outcome {
  std::vector<JobOutcome> jobs;  // as they end; those that nobody can take are not among them
  std::vector<LevelChange> changes;
  std::size_t decisions = 0;
};

Outcome simulate(const Scenario& scenario);

struct Summary {
  double makespan_ms = 0;                     // first job's coming to the last one's end
  double p50_ms = 0, p95_ms = 0, p99_ms = 0;  // a job's coming to its end
  std::size_t with_deadline = 0, missed = 0;  // jobs
  double quality = 0;                         // mean, weighted by prompt tokens
  double changes_an_hour = 0;
};

Summary summarize(const Scenario& scenario, const Outcome& outcome);

// From `burst_ms` to the next rise of the level; absent: there is none.
std::optional<double> reaction_ms(const Outcome& outcome, std::int64_t burst_ms);

}  // namespace dslad::daemon::policy
