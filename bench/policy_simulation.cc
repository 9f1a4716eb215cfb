// Policies compared on simulated traces: one worker of 32 layers, of which each that is converted costs 0.3%
// of the quality and saves 1/32 of nine tenths of the time of a job of 2,000 tokens (a second on plan 0).
// Every row is the mean over seeds. `mixed` gives plan 28 to a random part of the jobs, so that the mean
// quality is that of `deadline`: what one has without any policy. The last rows take parts of the policy
// away: the dwell; the choice among jobs (all get the level); what it learns (it believes the worker to be
// three times as slow, or as fast, as it is).
//
// policy_simulation [TRACE.csv]: also Azure's trace (TIMESTAMP,ContextTokens,GeneratedTokens), an hour of it,
// its times stretched until the load is 0.9 of the capacity on plan 0.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "daemon/policy/simulate.h"

namespace dslad::daemon::policy {
namespace {

constexpr int kSeeds = 5;
constexpr std::uint32_t kLargest = 28;
constexpr double kLossOfALayer = 0.003;

struct Arrival {
  double at_ms = 0;
  double tokens = 2'000;
};
using Trace = std::vector<Arrival>;

CostModel truth() {
  return CostModel::recorded({0.05, 0.45 / 2'000, 0, 0, 0, 0, 0}, 4, 1, 1);
}

Scenario scenario_of(const Trace& trace, unsigned seed, std::int64_t deadline_ms) {
  Scenario made;
  WorkerFacts facts;
  facts.instance = "w";
  facts.speed_key = "cpu";
  facts.layers = 32;
  for (std::uint32_t plan = 0; plan <= kLargest; plan += 4)
    facts.plans.push_back({plan, 1 - kLossOfALayer * plan, 0, 0});
  made.workers = {{facts, truth(), 4, 0.1}};
  made.settings.min_quality = 0.9;
  made.seed = seed;
  for (const Arrival& one : trace) {
    SimulatedJob& job = made.jobs.emplace_back();
    job.job.id = static_cast<std::int64_t>(made.jobs.size());
    job.job.submitted_ms = std::llround(one.at_ms);
    job.job.turn_ms = job.job.submitted_ms + 86'400'000;
    if (deadline_ms > 0) job.job.deadline_ms = job.job.turn_ms = job.job.submitted_ms + deadline_ms;
    job.job.size = {static_cast<std::uint64_t>(4 * one.tokens), 1, 10};
    job.prompt_tokens = one.tokens;
    job.output_tokens = 10;
  }
  return made;
}

void add_poisson(Trace& trace, std::mt19937& random, double from_ms, double to_ms, double a_second) {
  std::exponential_distribution<double> gap(a_second / 1'000);
  double at_ms = from_ms;
  while ((at_ms += gap(random)) < to_ms) trace.push_back({at_ms});
}

Trace waves(unsigned seed, int times, double on_ms, double off_ms, double a_second) {
  std::mt19937 random(seed);
  Trace trace;
  for (int i = 0; i < times; ++i)
    add_poisson(trace, random, i * (on_ms + off_ms), i * (on_ms + off_ms) + on_ms, a_second);
  return trace;
}

double time_of_day_ms(const std::string& line) {
  int hour = 0;
  int minute = 0;
  double second = 0;
  const std::size_t space = line.find(' ');
  if (space == std::string::npos ||
      std::sscanf(line.c_str() + space, "%d:%d:%lf", &hour, &minute, &second) != 3)
    return -1;
  return 1'000 * (3'600.0 * hour + 60 * minute + second);
}

Trace azure(const std::string& file) {
  std::ifstream in(file);
  Trace trace;
  double work_ms = 0;
  for (std::string line; std::getline(in, line);) {
    const double at_ms = time_of_day_ms(line);
    const std::size_t comma = line.find(',');
    if (at_ms < 0 || comma == std::string::npos) continue;
    const double tokens = std::max(1.0, std::strtod(line.c_str() + comma + 1, nullptr));
    if (!trace.empty() && at_ms - trace.front().at_ms > 3'600'000) break;
    trace.push_back({at_ms, tokens});
    work_ms += truth().of_tokens(tokens, 10, {1, 0}, 1).total_ms();
  }
  if (trace.empty()) return trace;
  constexpr double kLoad = 0.9;
  const double begin_ms = trace.front().at_ms;
  const double stretch = work_ms / kLoad / (trace.back().at_ms - begin_ms);
  for (Arrival& one : trace) one.at_ms = (one.at_ms - begin_ms) * stretch;
  return trace;
}

void add(Summary& sum, const Summary& one) {
  sum.p50_ms += one.p50_ms / kSeeds;
  sum.p95_ms += one.p95_ms / kSeeds;
  sum.p99_ms += one.p99_ms / kSeeds;
  sum.quality += one.quality / kSeeds;
  sum.changes_an_hour += one.changes_an_hour / kSeeds;
  sum.missed += one.missed;
  sum.with_deadline += one.with_deadline;
}

void print(const std::string& name, const Summary& sum) {
  const std::string missed = sum.with_deadline == 0
                                 ? "-"
                                 : fmt::format("{:.1f}%", 100.0 * static_cast<double>(sum.missed) /
                                                              static_cast<double>(sum.with_deadline));
  fmt::print("  {:<12} {:>8.1f} {:>8.1f} {:>8.1f} {:>8} {:>8.4f} {:>9.1f}\n", name, sum.p50_ms / 1'000,
             sum.p95_ms / 1'000, sum.p99_ms / 1'000, missed, sum.quality, sum.changes_an_hour);
}

Summary run(Scenario scenario, PolicyKind kind, std::uint32_t plan) {
  scenario.settings.kind = kind;
  scenario.settings.static_plan = plan;
  return summarize(scenario, simulate(scenario));
}

Summary run_mixed(Scenario scenario, double quality) {
  std::mt19937 random(static_cast<unsigned>(scenario.seed) + 1'000);
  std::bernoulli_distribution cheaper(std::clamp((1 - quality) / (kLossOfALayer * kLargest), 0.0, 1.0));
  for (SimulatedJob& job : scenario.jobs) job.job.max_plan = cheaper(random) ? kLargest : 0;
  return run(scenario, PolicyKind::kStatic, kLargest);
}

struct Ablation {
  const char* name;
  void (*change)(Scenario&);
};

// As good a model as could be learnt, of a worker that takes this many times as long.
void believe(Scenario& scenario, double slower) {
  scenario.learns = false;
  scenario.known.insert_or_assign(
      "cpu", CostModel::recorded({0.05 * slower, 0.45 / 2'000 * slower, 0, 0, 0, 0, 0}, 4, 1, 1));
}

constexpr Ablation kAblations[] = {
    {"waits only", [](Scenario& scenario) { scenario.settings.anticipate = false; }},
    {"no dwell", [](Scenario& scenario) { scenario.settings.dwell_ms = 0; }},
    {"one plan", [](Scenario& scenario) { scenario.settings.without.own_plans = true; }},
    {"jobs counted", [](Scenario& scenario) { scenario.settings.without.lengths = true; }},
    {"believes 3x", [](Scenario& scenario) { believe(scenario, 3); }},
    {"believes 1/3", [](Scenario& scenario) { believe(scenario, 1.0 / 3); }},
};

void compare(const std::string& title, const std::function<Trace(unsigned)>& trace,
             std::int64_t deadline_ms) {
  Summary plain;
  Summary cheapest;
  Summary threshold;
  Summary deadline;
  Summary mixed;
  Summary ablated[std::size(kAblations)];
  std::size_t jobs = 0;
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    const Scenario scenario = scenario_of(trace(seed), seed, deadline_ms);
    jobs += scenario.jobs.size();
    add(plain, run(scenario, PolicyKind::kStatic, 0));
    add(cheapest, run(scenario, PolicyKind::kStatic, kLargest));
    add(threshold, run(scenario, PolicyKind::kThreshold, 0));
    const Summary own = run(scenario, PolicyKind::kDeadline, 0);
    add(deadline, own);
    add(mixed, run_mixed(scenario, own.quality));
    for (std::size_t i = 0; i < std::size(kAblations); ++i) {
      Scenario without = scenario;
      kAblations[i].change(without);
      add(ablated[i], run(without, PolicyKind::kDeadline, 0));
    }
  }
  fmt::print("{}, {} jobs\n  {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}\n", title, jobs / kSeeds, "policy",
             "p50 s", "p95 s", "p99 s", "missed", "quality", "changes/h");
  print("static 0", plain);
  print("static 28", cheapest);
  print("threshold", threshold);
  print("mixed", mixed);
  print("deadline", deadline);
  for (std::size_t i = 0; i < std::size(kAblations); ++i) print(kAblations[i].name, ablated[i]);
}

}  // namespace
}  // namespace dslad::daemon::policy

int main(int count, char** arguments) {
  using namespace dslad::daemon::policy;
  const auto square = [](unsigned seed) { return waves(seed, 10, 90'000, 90'000, 1.8); };
  compare("Ten waves, 90 s of 1.8 times the capacity and 90 s of nothing", square, 0);
  compare("The same, with deadlines of 30 s", square, 30'000);
  compare(
      "A day of noise at 0.6 of the capacity",
      [](unsigned seed) { return waves(seed, 1, 86'400'000, 0, 0.6); }, 0);
  compare(
      "A day of noise at 0.95", [](unsigned seed) { return waves(seed, 1, 86'400'000, 0, 0.95); }, 0);
  compare(
      "An hour of waves of 10 s, the dwell",
      [](unsigned seed) { return waves(seed, 360, 5'000, 5'000, 1.9); }, 0);
  if (count > 1) {
    Trace trace = azure(arguments[1]);
    compare(
        "Azure's trace at 0.9 of the capacity", [&trace](unsigned) { return trace; }, 0);
  }
  return 0;
}
