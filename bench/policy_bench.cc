// How long a decision takes: 1,000 jobs, 8 plans, 4 workers, under loads that ask for much searching.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {
namespace {

constexpr std::int64_t kNow = 10'000'000;

WorkerFacts worker(int number) {
  WorkerFacts facts;
  facts.instance = std::to_string(number);
  facts.speed_key = "cpu";
  facts.model = "m";
  facts.model_digest = "d";
  facts.layers = 32;
  facts.context = 1U << 20U;
  for (std::uint32_t plan = 0; plan < 32; plan += 4) facts.plans.push_back({plan, 1 - 0.003 * plan, 0, 0});
  facts.busy_ms = 100.0 * number;
  return facts;
}

// `due_ms` gives the deadline, from now, of the job with a number; 0: it has none.
std::vector<WaitingJob> jobs(int clients, const std::function<std::int64_t(int)>& due_ms) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint64_t> bytes(1'000, 30'000);
  std::vector<WaitingJob> all;
  for (int i = 0; i < 1'000; ++i) {
    WaitingJob& job = all.emplace_back();
    job.id = i + 1;
    job.client = "client " + std::to_string(i % clients);
    job.submitted_ms = kNow - 10 * (1'000 - i);
    job.turn_ms = job.submitted_ms + 86'400'000;
    job.size = {bytes(random), 1, 200};
    if (due_ms(i) != 0) job.deadline_ms = job.turn_ms = kNow + due_ms(i);
  }
  return all;
}

// As a daemon has it that ran for long.
CostModel learnt(const CostModel& truth) {
  CostModel model;
  std::mt19937 random(2);
  std::uniform_int_distribution<std::uint64_t> bytes(1'000, 30'000);
  std::uniform_real_distribution<double> share(0, 1);
  for (int i = 0; i < 300; ++i) {
    Observation seen;
    seen.size = {bytes(random), 1, 200};
    seen.plan.states = share(random);
    seen.plan.attention = 1 - seen.plan.states;
    seen.prompt_tokens = truth.prompt_tokens(seen.size);
    seen.output_tokens = truth.output_tokens(seen.size);
    seen.work = truth.of(seen.size, seen.plan);
    seen.batch = 4;
    model.learn(seen);
  }
  return model;
}

void time_decision(const std::string& name, int clients, const std::function<std::int64_t(int)>& due_ms) {
  const std::vector<WorkerFacts> workers = {worker(0), worker(1), worker(2), worker(3)};
  // A 30 kB document takes about 1.3 s on plan 0 and 0.5 s with all layers converted.
  const CostModels costs = {
      {"cpu", learnt(CostModel::recorded({0.01, 1.5e-5, 0.01, 1, 1, 0, 0}, 4, 0.5, 4))}};
  const std::vector<WaitingJob> waiting = jobs(clients, due_ms);
  constexpr int kTimes = 15;
  std::vector<double> took_ms;
  Verdict verdict;
  for (int i = 0; i < kTimes; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    verdict = decide({.min_quality = 0.9}, {}, waiting, workers, costs, kNow);
    took_ms.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(took_ms.begin(), took_ms.end());
  const auto late = std::count_if(verdict.decisions.begin(), verdict.decisions.end(),
                                  [](const Decision& one) { return one.late; });
  double plans = 0;
  for (const Decision& one : verdict.decisions) plans += one.plan;
  fmt::print("{:<34} {:>8.2f} ms  drain {:>6.1f} s of {:>6.1f} s  mean plan {:>5.2f}  late {}\n", name,
             took_ms[kTimes / 2], verdict.drain_ms / 1'000, verdict.drain_at_plan_0_ms / 1'000, plans / 1'000,
             late);
}

}  // namespace
}  // namespace dslad::daemon::policy

int main() {
  using dslad::daemon::policy::time_decision;
  fmt::print("A decision on 1,000 jobs, 8 plans, 4 workers: median of 15\n");
  time_decision("a day for each", 10, [](int) { return 86'400'000; });
  time_decision("targets alone, out of reach", 10, [](int) { return 0; });
  time_decision("one deadline for all, tight", 10, [](int) { return 100'000; });
  time_decision("the same, 1,000 clients", 1'000, [](int) { return 100'000; });
  time_decision("a deadline each, evenly spaced", 10, [](int i) { return 2'000 + 100 * i; });
  time_decision("the same, random order of clients", 97,
                [](int i) { return 2'000 + 97 * i + 911 * (i % 13); });
  time_decision("half of them missed already", 10, [](int i) { return i % 2 == 0 ? -1'000 : 110'000; });
  return 0;
}
