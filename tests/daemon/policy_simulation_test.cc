// The policy over whole traces: what must hold of any, and what it makes of those that policies are judged
// by.
#include <gmock/gmock.h>
#include <limits>
#include <map>
#include <set>

#include "daemon/policy/simulated_engine.h"
#include "tests/daemon/policy_world.h"
#include "tests/sanitized.h"

namespace dslad::daemon::policy {
namespace {

using test::set_deadline;
using test::Trace;

class PolicySimulation : public ::testing::Test {
 protected:
  PolicySimulation() {
    scenario_.settings.min_quality = 0.9;
    scenario_.workers = {test::simulated_worker()};
    scenario_.known["cpu"] = test::truth();
    scenario_.learns = false;
  }

  Summary run() {
    outcome_ = simulate(scenario_);
    return summarize(scenario_, outcome_);
  }
  Summary run_static(std::uint32_t plan) {
    Scenario fixed = scenario_;
    fixed.settings.kind = PolicyKind::kStatic;
    fixed.settings.static_plan = plan;
    return summarize(fixed, simulate(fixed));
  }

  Scenario scenario_;
  Outcome outcome_;
};

TEST_F(PolicySimulation, ALoneJobTakesItsWork) {
  Trace(scenario_, 1).add(5'000);
  const Summary summary = run();
  ASSERT_EQ(outcome_.jobs.size(), 1U);
  EXPECT_NEAR(summary.p50_ms, 1'000, 1);
  EXPECT_NEAR(outcome_.jobs[0].start_ms, 5'000, 1e-6);
  EXPECT_EQ(summary.quality, 1);
}

// Sharing its time among four does not make a worker faster or slower.
TEST_F(PolicySimulation, WorkAddsUp) {
  Trace trace(scenario_, 1);
  for (int i = 0; i < 10; ++i) trace.add(0);
  EXPECT_NEAR(run().makespan_ms, 10'000, 1);
  EXPECT_EQ(outcome_.jobs.size(), 10U);
}

TEST_F(PolicySimulation, WithoutJobsOrWorkersNothingHappens) {
  EXPECT_EQ(run().p50_ms, 0);
  Trace(scenario_, 1).add(0);
  scenario_.workers.clear();
  run();
  EXPECT_TRUE(outcome_.jobs.empty());
}

// However seldom is decided: what was not seen yet is decided of when it begins.
TEST_F(PolicySimulation, SeldomDecisionsHoldNobodyUp) {
  scenario_.decide_every_ms = 3'600'000;
  Trace(scenario_, 1).poisson(0, 60'000, 2);
  const Summary fixed = run_static(28);
  EXPECT_LT(fixed.makespan_ms, 62'000);
  EXPECT_NEAR(fixed.quality, 1 - 28 * 0.003, 1e-9);
  run();
  EXPECT_EQ(outcome_.jobs.size(), scenario_.jobs.size());
}

TEST_F(PolicySimulation, NoiseAtSixtyPercentOfTheCapacityChangesNothing) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: hours of traces for numbers alone";
  Trace(scenario_, 3).poisson(0, 4 * 3'600'000, 0.6);
  scenario_.workers[0].noise = 0.2;
  scenario_.learns = true;
  const Summary summary = run();
  EXPECT_THAT(outcome_.changes, ::testing::IsEmpty());
  EXPECT_EQ(summary.quality, 1);
  EXPECT_EQ(outcome_.jobs.size(), scenario_.jobs.size());
}

// A burst is answered in the first decision that sees more than the target allows; waves of it are ten times
// llm-d's: 90 s on, 90 s off.
TEST_F(PolicySimulation, ABurstIsAnsweredAtOnce) {
  Trace trace(scenario_, 4);
  for (int i = 0; i < 150; ++i) trace.add(1'000'000);
  run();
  ASSERT_TRUE(reaction_ms(outcome_, 1'000'000).has_value());
  EXPECT_EQ(*reaction_ms(outcome_, 1'000'000), 0);
}

TEST_F(PolicySimulation, ASquareWaveIsFollowedUpAndDown) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: hours of traces for numbers alone";
  Trace(scenario_, 5).waves(10, 90'000, 90'000, 1.8);
  Trace(scenario_, 5).add(1'860'000);
  const Summary summary = run();
  EXPECT_LE(summary.p99_ms, scenario_.settings.target_drain_ms + 1'500);
  EXPECT_GT(run_static(0).p99_ms, summary.p99_ms);
  EXPECT_GT(summary.quality, 0.99);
  EXPECT_EQ(outcome_.jobs.back().plan, 0U);
}

// A model's falls are at most one in a dwell, and between two falls every rise is to a higher plan.
void expect_no_flapping(const Outcome& outcome, std::int64_t dwell_ms) {
  std::map<std::string, std::int64_t> last_ms;  // by model
  for (const LevelChange& change : outcome.changes) {
    const auto last = last_ms.find(change.model_digest);
    if (change.to < change.from && last != last_ms.end()) {
      ASSERT_GE(change.at_ms - last->second, dwell_ms);
    }
    last_ms[change.model_digest] = change.at_ms;
  }
}

TEST_F(PolicySimulation, AWaveAsLongAsTheDwellDoesNotFlap) {
  scenario_.settings.target_drain_ms = 2'000;
  Trace trace(scenario_, 6);
  const std::int64_t dwell_ms = scenario_.settings.dwell_ms;
  for (int wave = 0; wave < 300; ++wave) {
    for (int i = 0; i < 5; ++i) trace.add(wave * dwell_ms);
  }
  const Summary summary = run();
  expect_no_flapping(outcome_, dwell_ms);
  const double waves_an_hour = 3'600'000.0 / static_cast<double>(dwell_ms);
  EXPECT_LE(summary.changes_an_hour, 2 * waves_an_hour + 1);
}

// Every mix of two plans by chance that has the same quality is slower.
TEST_F(PolicySimulation, IsAboveTheHullOfStaticPlans) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: hours of traces for numbers alone";
  Trace(scenario_, 7).waves(20, 90'000, 90'000, 1.8);
  const Summary adaptive = run();
  for (const std::uint32_t plan : {4U, 12U, 28U}) {
    scenario_.settings.min_quality = 0.9;
    const double loss = 0.003 * plan;
    std::mt19937 random(8);
    std::bernoulli_distribution cheaper(std::min(1.0, (1 - adaptive.quality) / loss));
    Scenario mixed = scenario_;
    mixed.settings.kind = PolicyKind::kStatic;
    mixed.settings.static_plan = plan;
    for (SimulatedJob& job : mixed.jobs) job.job.max_plan = cheaper(random) ? plan : 0;
    const Summary by_chance = summarize(mixed, simulate(mixed));
    EXPECT_NEAR(by_chance.quality, adaptive.quality, 2e-3);
    EXPECT_LT(adaptive.p95_ms, by_chance.p95_ms) << plan;
  }
}

TEST_F(PolicySimulation, LearnsWhileItRuns) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: hours of traces for numbers alone";
  scenario_.known.clear();
  scenario_.learns = true;
  Trace(scenario_, 9).waves(10, 90'000, 90'000, 1.8);
  const Summary summary = run();
  EXPECT_LE(summary.p95_ms, scenario_.settings.target_drain_ms * 1.25);
  EXPECT_GT(summary.quality, 0.98);
}

// One layer a minute: 24 of 32 take the paper's code 24 minutes, whatever waits.
TEST_F(PolicySimulation, TheThresholdIsSlowerThanTheBurst) {
  scenario_.settings.kind = PolicyKind::kThreshold;
  scenario_.settings.min_quality = 0;
  scenario_.workers[0].facts.plans.clear();
  for (std::uint32_t plan = 0; plan <= 32; ++plan)
    scenario_.workers[0].facts.plans.push_back({plan, 1.0, 0, 0});
  Trace trace(scenario_, 10);
  for (int i = 0; i < 60; ++i) trace.add(0, 20'000);
  run();
  const auto reached = std::find_if(outcome_.changes.begin(), outcome_.changes.end(),
                                    [](const LevelChange& change) { return change.to == 24; });
  ASSERT_NE(reached, outcome_.changes.end());
  EXPECT_NEAR(static_cast<double>(reached->at_ms) / 60'000, 23.5, 1);
  for (const LevelChange& change : outcome_.changes) EXPECT_LE(change.to, 24U);
}

TEST_F(PolicySimulation, TheClientOfTheBacklogPays) {
  Trace trace(scenario_, 11);
  for (int i = 0; i < 120; ++i) trace.add(0, 2'000, "bulk");
  for (int i = 0; i < 10; ++i) trace.add(1'000 * i, 500, "ada");
  run();
  for (const JobOutcome& one : outcome_.jobs) {
    if (scenario_.jobs[one.index].job.client == "ada") {
      EXPECT_EQ(one.plan, 0U);
    }
  }
}

TEST_F(PolicySimulation, HopelessDeadlinesHideNoneThatCanBeSaved) {
  Trace trace(scenario_, 12);
  for (int i = 0; i < 100; ++i) set_deadline(trace.add(0, 200), -1'000);
  for (int i = 0; i < 20; ++i) set_deadline(trace.add(0), 18'000);
  EXPECT_EQ(run().missed, 100U);
}

class AnyTrace : public PolicySimulation, public ::testing::WithParamInterface<int> {
 protected:
  void make_trace(unsigned seed) {
    Trace trace(scenario_, seed);
    scenario_.seed = seed;
    scenario_.jobs.clear();
    scenario_.settings.min_quality = trace.draw(0, 3) == 0 ? 0 : 0.9 + 0.02 * trace.draw(0, 5);
    scenario_.settings.target_drain_ms = trace.draw(1, 60) * 1'000;
    scenario_.settings.dwell_ms = trace.draw(0, 20) * 1'000;
    scenario_.learns = trace.draw(0, 1) == 0;
    scenario_.known.clear();
    if (trace.draw(0, 2) > 0) scenario_.known["cpu"] = test::truth();
    make_workers(trace);
    std::int64_t at_ms = 0;
    for (int i = trace.draw(0, 60); i > 0; --i)
      add_job(trace, at_ms += trace.draw(0, 1) * trace.draw(0, 3'000));
  }

  void make_workers(Trace& trace) {
    scenario_.workers.clear();
    for (int i = trace.draw(1, 3); i > 0; --i) {
      SimulatedWorker& worker = scenario_.workers.emplace_back(test::simulated_worker(std::to_string(i)));
      worker.noise = 0.1 * trace.draw(0, 3);
      worker.room = static_cast<std::size_t>(trace.draw(1, 6));
      if (trace.draw(0, 3) == 0) worker.facts.plans.resize(static_cast<std::size_t>(trace.draw(0, 8)));
      if (trace.draw(0, 3) == 0) worker.facts.model = worker.facts.model_digest = "other";
    }
  }

  static void add_job(Trace& trace, std::int64_t at_ms) {
    SimulatedJob& job = trace.add(at_ms, trace.draw(0, 4'000), "client " + std::to_string(trace.draw(0, 3)));
    job.prompt_tokens = std::max(1.0, job.prompt_tokens);
    job.job.priority = trace.draw(0, 4) == 0 ? 1 : 0;
    if (trace.draw(0, 2) == 0) set_deadline(job, trace.draw(-1'000, 60'000));
    if (trace.draw(0, 4) == 0) job.job.min_quality = 0.9 + 0.01 * trace.draw(0, 10);
    if (trace.draw(0, 4) == 0) job.job.max_plan = trace.draw(0, 32);
    if (trace.draw(0, 6) == 0) job.job.model = trace.draw(0, 1) == 0 ? "m" : "other";
  }

  // Floors, limits, and plans that the worker has.
  void expect_terms_kept() const {
    for (const JobOutcome& one : outcome_.jobs) {
      const WaitingJob& job = scenario_.jobs[one.index].job;
      ASSERT_GE(one.start_ms, static_cast<double>(job.submitted_ms));
      ASSERT_GT(one.finish_ms, one.start_ms);
      if (one.plan == 0) continue;
      ASSERT_LE(one.plan, job.max_plan.value_or(32));
      ASSERT_GE(one.quality, std::max(scenario_.settings.min_quality, job.min_quality.value_or(0)));
      const std::vector<PlanFacts>& plans = scenario_.workers[one.worker].facts.plans;
      ASSERT_TRUE(std::any_of(plans.begin(), plans.end(),
                              [&](const PlanFacts& plan) { return plan.plan == one.plan; }));
    }
  }

  // Of two jobs that wait and that the same workers take, the one whose turn is earlier begins no later; for
  // a deadline's sake one is left to another worker.
  void expect_turns_kept() const {
    for (const JobOutcome& a : outcome_.jobs) {
      for (const JobOutcome& b : outcome_.jobs) {
        const WaitingJob& first = scenario_.jobs[a.index].job;
        const WaitingJob& second = scenario_.jobs[b.index].job;
        if (first.model != second.model || !runs_before(first, second)) continue;
        if (first.deadline_ms || second.deadline_ms) continue;
        ASSERT_FALSE(b.start_ms > static_cast<double>(first.submitted_ms) + 1e-6 &&
                     b.start_ms < a.start_ms - 1e-6);
      }
    }
  }

  [[nodiscard]] bool somebody_takes(const WaitingJob& job) const {
    return std::any_of(
        scenario_.workers.begin(), scenario_.workers.end(),
        [&](const SimulatedWorker& worker) { return job.model.empty() || job.model == worker.facts.model; });
  }
};

TEST_P(AnyTrace, KeepsWhatIsPromised) {
  for (unsigned round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    make_trace(static_cast<unsigned>(GetParam()) * 100 + round);
    run();
    const auto takable = std::count_if(scenario_.jobs.begin(), scenario_.jobs.end(),
                                       [&](const SimulatedJob& job) { return somebody_takes(job.job); });
    ASSERT_EQ(static_cast<std::ptrdiff_t>(outcome_.jobs.size()), takable);
    ASSERT_NO_FATAL_FAILURE(expect_terms_kept());
    ASSERT_NO_FATAL_FAILURE(expect_turns_kept());
    ASSERT_NO_FATAL_FAILURE(expect_no_flapping(outcome_, scenario_.settings.dwell_ms));
    const Outcome again = simulate(scenario_);
    ASSERT_EQ(again.jobs.size(), outcome_.jobs.size());
    for (std::size_t i = 0; i < again.jobs.size(); ++i) {
      ASSERT_EQ(again.jobs[i].plan, outcome_.jobs[i].plan);
      ASSERT_EQ(again.jobs[i].finish_ms, outcome_.jobs[i].finish_ms);
    }
  }
}

// How much later than its target the last job ends, at worst.
double lateness_ms(const Scenario& scenario, const Outcome& outcome) {
  double worst_ms = std::numeric_limits<double>::lowest();
  for (const JobOutcome& one : outcome.jobs) {
    const auto due_ms =
        static_cast<double>(scenario.jobs[one.index].job.submitted_ms + scenario.settings.target_drain_ms);
    worst_ms = std::max(worst_ms, one.finish_ms - due_ms);
  }
  return worst_ms;
}

// What comes at once: where the cheapest plan for all has it done in time, so has the policy.
TEST_P(AnyTrace, ABurstIsDrainedInTimeWhereAPlanDrainsIt) {
  const unsigned rounds = dslad::testing::kSanitized ? 10 : 100;
  unsigned drained = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    Trace trace(scenario_, static_cast<unsigned>(GetParam()) * 100 + round);
    scenario_.jobs.clear();
    scenario_.settings.target_drain_ms = trace.draw(5, 60) * 1'000;
    scenario_.workers[0].room = static_cast<std::size_t>(trace.draw(1, 4));
    for (int i = trace.draw(1, 60); i > 0; --i)
      trace.add(0, trace.draw(200, 6'000), "client " + std::to_string(trace.draw(0, 3)));
    Scenario cheapest = scenario_;
    cheapest.settings.kind = PolicyKind::kStatic;
    cheapest.settings.static_plan = scenario_.workers[0].facts.plans.back().plan;
    if (lateness_ms(cheapest, simulate(cheapest)) > 0) continue;
    ++drained;
    run();
    ASSERT_LE(lateness_ms(scenario_, outcome_), 0);
  }
  EXPECT_GT(drained, dslad::testing::kSanitized ? 3U : rounds / 2);  // or the property would say little
}

// Of workers with chains and speeds of their own, which do what is predicted of them one job after the other.
class MixedWorkers : public PolicySimulation, public ::testing::WithParamInterface<int> {
 protected:
  void make_workers(Trace& trace) {
    scenario_.workers.clear();
    scenario_.known.clear();
    for (int i = trace.draw(2, 4); i > 0; --i) {
      SimulatedWorker& worker = scenario_.workers.emplace_back(test::simulated_worker(std::to_string(i)));
      worker.room = 1;
      worker.facts.speed_key = worker.facts.instance;
      worker.facts.plans.resize(static_cast<std::size_t>(trace.draw(0, 8)));
      const double slower = 0.5 * trace.draw(1, 10);
      worker.truth = CostModel::recorded({slower * 0.05, slower * 0.45 / 2'000, 0, 0, 0, 0, 0}, 4, 1, 1);
      scenario_.known[worker.facts.speed_key] = worker.truth;
    }
  }

  void make_burst(Trace& trace) {
    scenario_.jobs.clear();
    for (int i = trace.draw(1, 30); i > 0; --i) {
      SimulatedJob& job = trace.add(0, trace.draw(200, 4'000));
      if (trace.draw(0, 3) > 0) set_deadline(job, trace.draw(500, 20'000));
    }
  }

  // Indices of jobs that are in time as they are laid out.
  [[nodiscard]] std::set<std::size_t> promised() const {
    std::vector<WaitingJob> waiting;
    for (const SimulatedJob& one : scenario_.jobs) waiting.push_back(one.job);
    std::vector<WorkerFacts> workers;
    for (const SimulatedWorker& one : scenario_.workers) workers.push_back(one.facts);
    std::set<std::size_t> all;
    for (const Decision& one :
         decide(scenario_.settings, {}, waiting, workers, scenario_.known, 0).decisions) {
      const auto index = static_cast<std::size_t>(one.id - 1);
      if (waiting[index].deadline_ms && !one.late) all.insert(index);
    }
    return all;
  }
};

// Whoever is free takes what was laid out on another: without reservations one promise in nine is broken.
// What is left, one in a thousand, is the layout's own: with other workers free it is made anew, job by job.
TEST_P(MixedWorkers, WhatIsPromisedEndsInTime) {
  std::size_t promises = 0;
  std::size_t broken = 0;
  for (unsigned round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    Trace trace(scenario_, static_cast<unsigned>(GetParam()) * 100 + round);
    make_workers(trace);
    make_burst(trace);
    const std::set<std::size_t> in_time = promised();
    run();
    ASSERT_EQ(outcome_.jobs.size(), scenario_.jobs.size());
    promises += in_time.size();
    broken += static_cast<std::size_t>(std::ranges::count_if(outcome_.jobs, [&](const JobOutcome& one) {
      return in_time.contains(one.index) &&
             one.finish_ms > static_cast<double>(*scenario_.jobs[one.index].job.deadline_ms) + 1;
    }));
  }
  EXPECT_GT(promises, 500U);  // or the property would say little
  EXPECT_LE(200 * broken, promises);
}

// A worker with a chain is busy for a second, one without would take three for what is due in 2.85 s.
TEST_F(PolicySimulation, ADeadlineIsLeftToTheWorkerThatMeetsIt) {
  SimulatedWorker plain = test::simulated_worker("plain");
  plain.facts.plans.clear();
  scenario_.workers[0].room = plain.room = 1;
  scenario_.workers.push_back(plain);
  Trace trace(scenario_, 13);
  trace.add(0);
  set_deadline(trace.add(10, 6'000), 2'850);
  trace.add(20, 1'000);
  EXPECT_EQ(run().missed, 0U);
  std::map<std::size_t, JobOutcome> by_job;
  for (const JobOutcome& one : outcome_.jobs) by_job[one.index] = one;
  EXPECT_EQ(by_job.at(1).worker, 0U);
  EXPECT_GT(by_job.at(1).plan, 0U);
  EXPECT_EQ(by_job.at(2).worker, 1U);
  EXPECT_NEAR(by_job.at(2).start_ms, 20, 1) << "nobody is idle for it";
}

INSTANTIATE_TEST_SUITE_P(Seeds, MixedWorkers, ::testing::Range(0, 12));

INSTANTIATE_TEST_SUITE_P(Seeds, AnyTrace, ::testing::Range(0, 12));

// Until each job is done.
std::map<std::size_t, double> ends(SimulatedEngine engine) {
  std::map<std::size_t, double> ends;
  double now_ms = 0;
  while (engine.jobs() > 0) {
    const double next_ms = engine.next_ms();
    engine.pass(next_ms);
    now_ms += next_ms;
    for (const std::size_t id : engine.take_done()) ends[id] = now_ms;
  }
  return ends;
}

TEST(SimulatedEngine, PromptsAreReadInTurnButAShortOneBesideALongOne) {
  SimulatedEngine engine(16);
  engine.begin({1, {1'000, 0}, 1'000, 0});
  engine.begin({2, {1'000, 0}, 1'000, 0});
  auto done = ends(engine);
  EXPECT_NEAR(done[2], 2'000, 1e-6) << "works add up";
  EXPECT_LT(done[1], 1'400);
  EXPECT_FALSE(engine.has_room());
  SimulatedEngine mixed(16);
  mixed.begin({1, {1'000, 0}, 1'000, 0});
  mixed.begin({2, {10, 0}, 10, 0});
  done = ends(mixed);
  EXPECT_NEAR(done[2], 40, 1e-6) << "a quarter of the time";
  EXPECT_NEAR(done[1], 1'010, 1e-6);
}

TEST(SimulatedEngine, AnAnswerTakesItsStepsHoweverLittleItsShareIs) {
  SimulatedEngine alone(16);
  alone.begin({1, {0, 20}, 1, 10});
  EXPECT_NEAR(ends(alone)[1], 20, 1e-6);
  SimulatedEngine engine(16);
  engine.begin({1, {0, 20}, 1, 10});
  engine.begin({2, {5'120, 0}, 5'120, 0});  // 512 ms a step
  EXPECT_TRUE(engine.has_room()) << "one prompt is being read";
  const auto done = ends(engine);
  EXPECT_NEAR(done.at(1), 10 * (512 + 2), 1e-6);
  EXPECT_NEAR(done.at(2), 5'120 + 20, 1e-6);
}

}  // namespace
}  // namespace dslad::daemon::policy
