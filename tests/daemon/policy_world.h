// Workers, jobs and traces for tests of the policy.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "daemon/policy/simulate.h"

namespace dslad::daemon::policy::test {

// A model of 32 layers in steps of four; every converted layer costs 0.3% of the quality.
inline WorkerFacts worker(const std::string& name = "w") {
  WorkerFacts facts;
  facts.instance = name;
  facts.speed_key = "cpu";
  facts.model = "m";
  facts.model_digest = "d";
  facts.layers = 32;
  for (std::uint32_t plan = 0; plan <= 28; plan += 4) facts.plans.push_back({plan, 1 - 0.003 * plan, 0, 0});
  return facts;
}

// 2,000 tokens of a prompt take a second on plan 0, and with n of 32 layers converted 0.9 n / 32 seconds
// less.
inline CostModel truth() {
  return CostModel::recorded({0.05, 0.45 / 2'000, 0, 0, 0, 0, 0}, 4, 1, 1);
}

inline SimulatedWorker simulated_worker(const std::string& name = "w") {
  return {worker(name), truth(), 4, 0};
}

constexpr std::int64_t kDay_ms = 86'400'000;

// Adds jobs to a scenario.
class Trace {
 public:
  Trace(Scenario& scenario, unsigned seed) : scenario_(scenario), random_(seed) {}

  SimulatedJob& add(std::int64_t at_ms, double tokens = 2'000, const std::string& client = "ada") {
    SimulatedJob& made = scenario_.jobs.emplace_back();
    made.job.id = static_cast<std::int64_t>(scenario_.jobs.size());
    made.job.client = client;
    made.job.submitted_ms = at_ms;
    made.job.turn_ms = at_ms + kDay_ms;
    made.job.size = {static_cast<std::uint64_t>(4 * tokens), 1, 10};
    made.prompt_tokens = tokens;
    made.output_tokens = 10;
    return made;
  }

  // Jobs of 2,000 tokens, `a_second` of them on average.
  void poisson(std::int64_t from_ms, std::int64_t to_ms, double a_second) {
    std::exponential_distribution<double> gap(a_second / 1'000);
    auto at_ms = static_cast<double>(from_ms);
    while ((at_ms += gap(random_)) < static_cast<double>(to_ms)) add(std::llround(at_ms));
  }

  // For `on_ms`, then `off_ms` of nothing, so many times.
  void waves(int times, std::int64_t on_ms, std::int64_t off_ms, double a_second) {
    for (int i = 0; i < times; ++i) poisson(i * (on_ms + off_ms), i * (on_ms + off_ms) + on_ms, a_second);
  }

  int draw(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_); }

 private:
  Scenario& scenario_;
  std::mt19937 random_;
};

inline void set_deadline(SimulatedJob& job, std::int64_t in_ms) {
  job.job.deadline_ms = job.job.turn_ms = job.job.submitted_ms + in_ms;
}

}  // namespace dslad::daemon::policy::test
