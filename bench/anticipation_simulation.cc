// What the policy gains by expecting jobs, on the demo model's worker: speeds and lengths as bench/replay
// measured them, 20% noise, taught by three jobs on each of four plans. Deadlines of 10 s, a target and a
// dwell of 5 s. Every row is the mean over seeds; `waits` is the policy that looks at nothing but what waits,
// `mix` gives static plans to a random part of the jobs so that the quality is that of `deadline`.
//
// anticipation_simulation [SEEDS]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "daemon/policy/simulate.h"

namespace dslad::daemon::policy {
namespace {

constexpr double kQuality[] = {1, 0.9992, 0.9985, 0.9968, 0.9951, 0.9867, 0.9783, 0.9780, 0.9805};
constexpr std::uint64_t kAttention[] = {100, 85, 70, 55, 40, 32, 24, 12, 0};  // of plan 0's, in percent
constexpr std::uint64_t kStates[] = {0, 1, 2, 3, 4, 5, 6, 10, 14};
constexpr std::int64_t kDeadline_ms = 10'000;
constexpr double kNoise = 0.2;

WorkerFacts demo_worker() {
  WorkerFacts facts;
  facts.instance = "w";
  facts.speed_key = "cpu";
  facts.layers = 8;
  for (std::uint32_t plan = 0; plan <= 8; ++plan)
    facts.plans.push_back({plan, kQuality[plan], kAttention[plan], kStates[plan]});
  return facts;
}

CostModel truth() {
  const WorkerFacts facts = demo_worker();
  return CostModel::recorded({0.02, 7.6e-6, 0.019, 0.05, 0, 0, 0}, 4, 1, 1,
                             {{facts.shape(6), 1, 1}, {facts.shape(7), 1.4, 1}, {facts.shape(8), 2.2, 1}});
}

class Documents {
 public:
  explicit Documents(unsigned seed) : random_(seed) {}
  double tokens() {
    return std::clamp(4'096 * std::exp(0.6 * std::normal_distribution<double>()(random_)), 120.0, 7'113.0);
  }
  std::mt19937& random() { return random_; }

 private:
  std::mt19937 random_;
};

constexpr std::uint32_t kAnswers = 4;
constexpr double kOutput = 36;  // tokens

double work_ms(double tokens) {
  return truth().of_tokens(tokens, kOutput, {1, 0}, 1).total_ms();
}

double mean_work_ms() {
  static const double mean = [] {
    Documents documents(0);
    constexpr int kDraws = 100'000;
    double sum = 0;
    for (int i = 0; i < kDraws; ++i) sum += work_ms(documents.tokens());
    return sum / kDraws;
  }();
  return mean;
}

struct Phase {
  double from_ms = 0, to_ms = 0, load = 0;
};

void teach(Scenario& scenario, Documents& documents) {
  const WorkerFacts& facts = scenario.workers[0].facts;
  std::normal_distribution<double> noise;
  for (const std::uint32_t plan : {0U, 4U, 6U, 8U}) {
    for (int i = 0; i < 3; ++i) {
      const double tokens = documents.tokens();
      Work work = truth().of_tokens(tokens, kOutput, facts.shape(plan), 1);
      const double factor = std::exp(kNoise * noise(documents.random()));
      work.prefill_ms *= factor;
      work.decode_ms *= factor;
      scenario.known["cpu"].learn({{static_cast<std::uint64_t>(4 * tokens), kAnswers, 9},
                                   facts.shape(plan),
                                   tokens,
                                   kOutput,
                                   work,
                                   4});
    }
  }
}

Scenario scenario_of(const std::vector<Phase>& phases, unsigned seed, std::int64_t deadline_ms) {
  Documents documents(seed);
  Scenario made;
  made.workers = {{demo_worker(), truth(), 16, kNoise}};
  made.settings.min_quality = 0;
  made.settings.target_drain_ms = made.settings.dwell_ms = deadline_ms / 2;
  made.decide_every_ms = 50;
  made.seed = seed;
  teach(made, documents);
  for (const Phase& phase : phases) {
    std::exponential_distribution<double> gap(phase.load / mean_work_ms());
    double at_ms = phase.from_ms;
    while (phase.load > 0 && (at_ms += gap(documents.random())) < phase.to_ms) {
      SimulatedJob& job = made.jobs.emplace_back();
      job.prompt_tokens = documents.tokens();
      job.output_tokens = kOutput;
      job.job.id = static_cast<std::int64_t>(made.jobs.size());
      job.job.submitted_ms = std::llround(at_ms);
      job.job.deadline_ms = job.job.turn_ms = job.job.submitted_ms + deadline_ms;
      job.job.best_effort = true;
      job.job.size = {static_cast<std::uint64_t>(4 * job.prompt_tokens), kAnswers, 9};
    }
  }
  return made;
}

std::vector<Phase> waves(int times, double on_ms, double off_ms, double load, double off_load = 0) {
  std::vector<Phase> phases;
  for (int i = 0; i < times; ++i) {
    const double from_ms = i * (on_ms + off_ms);
    phases.push_back({from_ms, from_ms + on_ms, load});
    phases.push_back({from_ms + on_ms, from_ms + on_ms + off_ms, off_load});
  }
  return phases;
}

struct Sum {
  Summary total;
  int runs = 0;
  void add(const Summary& one) {
    total.p50_ms += one.p50_ms;
    total.p95_ms += one.p95_ms;
    total.p99_ms += one.p99_ms;
    total.quality += one.quality;
    total.changes_an_hour += one.changes_an_hour;
    total.missed += one.missed;
    total.with_deadline += one.with_deadline;
    ++runs;
  }
  void print(const std::string& name) const {
    const double n = runs;
    fmt::print("  {:<12} {:>7.2f} {:>7.2f} {:>7.2f} {:>7.2f}% {:>8.4f} {:>9.1f}\n", name,
               total.p50_ms / n / 1'000, total.p95_ms / n / 1'000, total.p99_ms / n / 1'000,
               100.0 * static_cast<double>(total.missed) / static_cast<double>(total.with_deadline),
               total.quality / n, total.changes_an_hour / n);
  }
};

Summary run(Scenario scenario, PolicyKind kind, std::uint32_t plan, bool anticipate) {
  scenario.settings.kind = kind;
  scenario.settings.static_plan = plan;
  scenario.settings.anticipate = anticipate;
  return summarize(scenario, simulate(scenario));
}

// Plans `low` and `high` by chance.
Summary run_mixed(Scenario scenario, std::uint32_t low, std::uint32_t high, double quality) {
  std::mt19937 random(static_cast<unsigned>(scenario.seed) + 1'000);
  std::bernoulli_distribution cheaper(
      std::clamp((kQuality[low] - quality) / (kQuality[low] - kQuality[high]), 0.0, 1.0));
  for (SimulatedJob& job : scenario.jobs) job.job.max_plan = cheaper(random) ? high : low;
  return run(std::move(scenario), PolicyKind::kStatic, 8, false);
}

void compare(const std::string& title, const std::vector<Phase>& phases, unsigned seeds) {
  Sum rows[6];
  std::size_t jobs = 0;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    const Scenario scenario = scenario_of(phases, seed, kDeadline_ms);
    jobs += scenario.jobs.size();
    rows[0].add(run(scenario, PolicyKind::kStatic, 0, false));
    rows[1].add(run(scenario, PolicyKind::kStatic, 4, false));
    rows[2].add(run(scenario, PolicyKind::kStatic, 6, false));
    rows[3].add(run(scenario, PolicyKind::kDeadline, 0, false));
    const Summary own = run(scenario, PolicyKind::kDeadline, 0, true);
    rows[4].add(own);
    const bool above = own.quality >= kQuality[4];
    rows[5].add(run_mixed(scenario, above ? 0 : 4, above ? 4 : 6, own.quality));
  }
  fmt::print("{}, {} jobs\n  {:<12} {:>7} {:>7} {:>7} {:>8} {:>8} {:>9}\n", title, jobs / seeds, "policy",
             "p50 s", "p95 s", "p99 s", "missed", "quality", "changes/h");
  const char* names[] = {"static 0", "static 4", "static 6", "waits", "deadline", "mix"};
  for (std::size_t i = 0; i < std::size(rows); ++i) rows[i].print(names[i]);
}

// One to eight phases of any load, with any deadline.
Scenario any_scenario(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> part(0, 1);
  std::vector<Phase> phases;
  double at_ms = 0;
  for (int count = 1 + static_cast<int>(8 * part(random)); count > 0; --count) {
    const double length_ms = 2'000 * std::pow(30, part(random));
    phases.push_back({at_ms, at_ms + length_ms, 2.5 * part(random)});
    at_ms += length_ms;
  }
  return scenario_of(phases, seed, std::llround(5'000 * std::pow(12, part(random))));
}

void compare_any(unsigned traces) {
  Sum waits;
  Sum expects;
  std::size_t fewer = 0;
  std::size_t more = 0;
  for (unsigned seed = 1; seed <= traces; ++seed) {
    const Scenario scenario = any_scenario(seed);
    if (scenario.jobs.empty()) continue;
    const Summary before = run(scenario, PolicyKind::kDeadline, 0, false);
    const Summary after = run(scenario, PolicyKind::kDeadline, 0, true);
    waits.add(before);
    expects.add(after);
    fewer += after.missed < before.missed ? 1 : 0;
    more += after.missed > before.missed ? 1 : 0;
  }
  fmt::print("{} traces of any loads, deadlines of 5 to 60 s: fewer are missed in {}, more in {}\n", traces,
             fewer, more);
  waits.print("waits");
  expects.print("deadline");
}

}  // namespace
}  // namespace dslad::daemon::policy

int main(int count, char** arguments) {
  using namespace dslad::daemon::policy;
  const unsigned seeds = count > 1 ? static_cast<unsigned>(std::atoi(arguments[1])) : 20;
  compare("Three waves, 15 s of 1.4 times the capacity and 15 s of nothing", waves(3, 15e3, 15e3, 1.4),
          seeds);
  compare("Ten such waves", waves(10, 15e3, 15e3, 1.8), seeds);
  compare("Ten such waves of 1.4", waves(10, 15e3, 15e3, 1.4), seeds);
  compare("Two such waves of 2, and 0.5 between", waves(2, 15e3, 15e3, 2, 0.5), seeds);
  compare("Ten such waves of 1.6, and 0.4 between", waves(10, 15e3, 15e3, 1.6, 0.4), seeds);
  compare("Ten waves of 1.6 for 15 s, and 0.4 for 45 s", waves(10, 15e3, 45e3, 1.6, 0.4), seeds);
  compare("Waves of 5 s, the dwell", waves(60, 2.5e3, 2.5e3, 1.8), seeds);
  for (const double load : {0.5, 0.7, 0.8, 0.9})
    compare(fmt::format("Half an hour of noise at {}", load), {{0, 1.8e6, load}}, seeds);
  compare_any(50 * seeds);
  return 0;
}
