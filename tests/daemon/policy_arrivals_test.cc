// Jobs that have not come yet: when they are expected, and what is done for them.
#include <cmath>
#include <cstdlib>
#include <gmock/gmock.h>

#include "daemon/policy/arrivals.h"
#include "tests/daemon/policy_world.h"
#include "tests/sanitized.h"

namespace dslad::daemon::policy {
namespace {

using test::set_deadline;
using test::Trace;

constexpr std::int64_t kTarget_ms = 60'000;

class ArrivalsTest : public ::testing::Test {
 protected:
  ArrivalsTest() : trace_(made_, 1) {}

  // Notes jobs with ten seconds each, which come at these times.
  void come(std::int64_t from_ms, int count, std::int64_t gap_ms) {
    for (int i = 0; i < count; ++i) {
      now_ms_ = from_ms + i * gap_ms;
      SimulatedJob& job = trace_.add(now_ms_);
      set_deadline(job, 10'000);
      note_arrivals({job.job}, kTarget_ms, now_ms_, arrivals_);
    }
  }
  [[nodiscard]] Expected expected(std::int64_t later_ms = 0) const {
    return expected_jobs(arrivals_, now_ms_ + later_ms);
  }

  Scenario made_;
  Trace trace_;
  Arrivals arrivals_;
  std::int64_t now_ms_ = 0;
};

TEST_F(ArrivalsTest, NothingIsExpectedOfNothingAndOfFew) {
  EXPECT_THAT(expected().jobs, ::testing::IsEmpty());
  come(0, 2, 500);
  EXPECT_THAT(expected().jobs, ::testing::IsEmpty());
}

TEST_F(ArrivalsTest, AsManyAreExpectedAsCameLessTheDoubt) {
  come(0, 101, 500);
  const Expected more = expected();
  EXPECT_LT(more.what.a_second, 2);
  EXPECT_GT(more.what.a_second, 1.7);
  EXPECT_NEAR(more.what.for_ms, 10'000, 1);
  EXPECT_NEAR(static_cast<double>(more.jobs.size()), 10 * more.what.a_second, 1);
  EXPECT_EQ(more.each, 1);
}

TEST_F(ArrivalsTest, TheyAreOfTheKindThatCame) {
  come(0, 100, 500);
  WaitingJob last = trace_.add(now_ms_ + 500, 777, "bob").job;
  last.priority = 3;
  last.max_plan = 4;
  now_ms_ += 500;
  note_arrivals({last}, kTarget_ms, now_ms_, arrivals_);
  const Expected more = expected();
  ASSERT_GT(more.jobs.size(), 1U);
  EXPECT_EQ(more.jobs[0].size.bytes, 4U * 777);
  EXPECT_EQ(more.jobs[0].client, "bob");
  EXPECT_EQ(more.jobs[0].priority, 3);
  EXPECT_EQ(more.jobs[0].max_plan, 4U);
  EXPECT_EQ(more.jobs[0].deadline_ms, std::nullopt);
  EXPECT_EQ(*more.jobs[1].deadline_ms, more.jobs[1].submitted_ms + 10'000);
  for (const WaitingJob& job : more.jobs) {
    EXPECT_LT(job.id, 0);
    EXPECT_GT(job.submitted_ms, now_ms_);
    EXPECT_LE(static_cast<double>(job.submitted_ms), static_cast<double>(now_ms_) + more.what.for_ms + 1);
  }
}

TEST_F(ArrivalsTest, WhenTheyStopNothingIsExpectedSoon) {
  come(0, 101, 500);
  EXPECT_THAT(expected(1'400).jobs, ::testing::Not(::testing::IsEmpty()));
  EXPECT_THAT(expected(1'600).jobs, ::testing::IsEmpty());
  EXPECT_THAT(expected(100'000).jobs, ::testing::IsEmpty());
}

TEST_F(ArrivalsTest, TheNextBurstIsKnownByItsFirstJobs) {
  come(0, 31, 500);
  come(30'000, 31, 500);
  const double before = expected().what.a_second;
  come(60'000, 2, 500);
  EXPECT_GT(expected().what.a_second, 0.8 * before);
  EXPECT_GT(expected().what.for_ms, 9'000);
}

// A burst is expected to last as long again, not longer.
TEST_F(ArrivalsTest, ABurstThatHasJustBegunIsNotExpectedToLast) {
  come(0, 11, 200);
  EXPECT_NEAR(expected().what.for_ms, 2'000, 1);
}

// Where jobs always come, a burst is not thinned by what comes between bursts.
TEST_F(ArrivalsTest, MoreThanUsualAreExpectedForAsLongAsTheyHaveCome) {
  come(0, 200, 1'000);
  EXPECT_LT(expected().what.a_second, 1);
  come(200'000, 31, 100);
  const Expected burst = expected();
  EXPECT_GT(burst.what.a_second, 7);
  EXPECT_LT(burst.what.a_second, 10);
  EXPECT_NEAR(burst.what.for_ms, 3'000, 500);
  const double then = static_cast<double>(burst.jobs.size()) * burst.each;
  EXPECT_NEAR(then, burst.what.a_second * 3 + 0.9 * 7, 4) << "and as usual after that";
  EXPECT_GT(burst.jobs.back().submitted_ms, now_ms_ + 8'000);
  come(204'000, 20, 1'000);
  EXPECT_LT(expected().what.a_second, 2) << "it has ended";
}

TEST_F(ArrivalsTest, JobsThatAreSentTogetherTellNothingOfOthers) {
  come(0, 1'000, 0);
  EXPECT_THAT(expected().jobs, ::testing::IsEmpty());
  come(20'000, 1'000, 0);
  EXPECT_THAT(expected().jobs, ::testing::IsEmpty());
}

TEST_F(ArrivalsTest, AFloodIsRememberedInLittleAndExpectedInFew) {
  come(0, 20'000, 1);
  EXPECT_EQ(arrivals_.latest.size(), 32U);
  const Expected more = expected();
  EXPECT_EQ(more.jobs.size(), 32U);
  EXPECT_NEAR(more.each * 32, more.what.a_second * more.what.for_ms / 1'000, 1);
  EXPECT_GT(more.what.a_second, 850);
  EXPECT_LT(more.what.a_second, 1'000);
}

TEST_F(ArrivalsTest, AJobIsNotedOnce) {
  come(0, 50, 500);
  const Arrivals before = arrivals_;
  std::vector<WaitingJob> all;
  for (const SimulatedJob& job : made_.jobs) all.push_back(job.job);
  note_arrivals(all, kTarget_ms, now_ms_, arrivals_);
  EXPECT_EQ(arrivals_.jobs, before.jobs);
  EXPECT_EQ(arrivals_.time_ms, before.time_ms);
}

// Where a clock was set back, and where a job was hidden by a thousand others.
TEST_F(ArrivalsTest, JobsOutOfOrderDoNoHarm) {
  come(0, 50, 500);
  const double before = expected().what.a_second;
  SimulatedJob& old = trace_.add(3'000);
  SimulatedJob& later = trace_.add(9'000'000);
  note_arrivals({later.job, old.job}, kTarget_ms, now_ms_, arrivals_);
  EXPECT_NEAR(expected().what.a_second, before, 0.1 * before);
}

// All that came seems to lie ahead then: nothing can be said of rates, and nothing absurd is.
TEST_F(ArrivalsTest, AClockThatIsSetBackExpectsNothingAbsurd) {
  come(100'000, 40, 100);
  for (const std::int64_t back_ms : {1, 1'000, 3'900, 3'901, 50'000}) {
    const Expected more = expected(-back_ms);
    EXPECT_TRUE(std::isfinite(more.what.a_second) && std::isfinite(more.each)) << back_ms;
    EXPECT_LT(more.what.a_second, 40) << back_ms;
    for (const WaitingJob& job : more.jobs) EXPECT_LT(std::abs(job.submitted_ms), 200'000) << back_ms;
  }
}

class AnticipationTest : public ::testing::Test {
 protected:
  AnticipationTest() {
    scenario_.settings.min_quality = 0.9;
    scenario_.workers = {test::simulated_worker()};
    scenario_.known["cpu"] = test::truth();
    scenario_.learns = false;
  }

  Summary run(bool anticipate) {
    scenario_.settings.anticipate = anticipate;
    outcome_ = simulate(scenario_);
    return summarize(scenario_, outcome_);
  }

  void set_deadlines(std::int64_t in_ms) {
    for (SimulatedJob& job : scenario_.jobs) set_deadline(job, in_ms);
  }

  // The first twenty layers cost a twentieth of what the others do.
  void make_first_layers_cheap() {
    for (PlanFacts& plan : scenario_.workers[0].facts.plans) {
      if (plan.plan > 0)
        plan.quality = 1 - 0.0003 * std::min(plan.plan, 20U) - 0.006 * (std::max(plan.plan, 20U) - 20);
    }
  }

  Scenario scenario_;
  Outcome outcome_;
};

TEST_F(AnticipationTest, NoiseCausesNoChange) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: hours of traces for numbers alone";
  for (const double load : {0.5, 0.6, 0.7, 0.8, 0.9}) {
    for (const std::int64_t deadline_ms : {0, 120'000}) {
      SCOPED_TRACE(load);
      scenario_.jobs.clear();
      Trace(scenario_, 21).poisson(0, 3'600'000, load);
      if (deadline_ms > 0) set_deadlines(deadline_ms);
      run(false);
      const std::size_t before = outcome_.changes.size();
      run(true);
      EXPECT_LE(outcome_.changes.size(), before);
    }
  }
}

TEST_F(AnticipationTest, ASquareWaveIsAnsweredSoonerAndMissesLess) {
  make_first_layers_cheap();
  scenario_.settings.dwell_ms = 5'000;
  scenario_.workers[0].noise = 0.3;
  Trace(scenario_, 22).waves(20, 15'000, 15'000, 1.6);
  set_deadlines(10'000);
  const Summary waits = run(false);
  double waits_ms = 0;
  for (int wave = 1; wave < 20; ++wave) waits_ms += reaction_ms(outcome_, wave * 30'000).value_or(1e9);
  const Summary expects = run(true);
  double expects_ms = 0;
  for (int wave = 1; wave < 20; ++wave) expects_ms += reaction_ms(outcome_, wave * 30'000).value_or(1e9);
  EXPECT_LT(2 * expects.missed, waits.missed);
  EXPECT_LT(expects.p95_ms, waits.p95_ms);
  EXPECT_GE(expects.quality, waits.quality - 1e-3);
  EXPECT_LT(expects_ms, waits_ms);
}

// Equal jobs, and one step that all could take: each takes its share of it.
TEST_F(AnticipationTest, ThoseThatWaitDoNotPayForAllThatAreExpected) {
  std::erase_if(scenario_.workers[0].facts.plans,
                [](const PlanFacts& plan) { return plan.plan > 0 && plan.plan < 28; });
  Trace(scenario_, 25).waves(10, 90'000, 90'000, 1.8);
  set_deadlines(30'000);
  const Summary expects = run(true);
  EXPECT_EQ(expects.missed, 0U);
  EXPECT_GT(expects.quality, 0.945);
}

// From idle, in the very decision that sees it.
TEST_F(AnticipationTest, ABurstFromIdleIsAnsweredInOneStep) {
  Trace trace(scenario_, 23);
  trace.poisson(0, 600'000, 0.3);
  for (int i = 0; i < 100; ++i) trace.add(1'000'000);
  run(true);
  EXPECT_EQ(reaction_ms(outcome_, 1'000'000), 0);
}

TEST_F(AnticipationTest, PlansFallWhenNothingComesAnyMore) {
  Trace trace(scenario_, 24);
  trace.poisson(0, 60'000, 2);
  trace.add(200'000);
  set_deadlines(10'000);
  run(true);
  ASSERT_THAT(outcome_.changes, ::testing::Not(::testing::IsEmpty()));
  EXPECT_EQ(outcome_.changes.back().to, 0U);
  EXPECT_EQ(outcome_.jobs.back().plan, 0U);
}

// Of any queue, after any past: nobody gets less than what those that wait need, nobody more than it allows,
// nobody is later, and nobody gets a dear step for jobs that may not come.
TEST_F(AnticipationTest, WhatWaitsIsServedFirstAndFloorsHold) {
  make_first_layers_cheap();
  int anticipated = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    scenario_.jobs.clear();
    Trace trace(scenario_, seed);
    scenario_.settings.min_quality = 0.9 + 0.02 * trace.draw(0, 5);
    History history;
    std::int64_t now_ms = 0;
    std::vector<WaitingJob> waiting;
    for (int i = trace.draw(1, 80); i > 0; --i) {
      now_ms += trace.draw(0, 800);
      SimulatedJob& job =
          trace.add(now_ms, trace.draw(100, 5'000), "client " + std::to_string(trace.draw(0, 2)));
      if (trace.draw(0, 3) > 0) set_deadline(job, trace.draw(5'000, 30'000));
      if (trace.draw(0, 4) == 0) job.job.min_quality = 0.9 + 0.02 * trace.draw(0, 5);
      if (trace.draw(0, 4) == 0) job.job.max_plan = trace.draw(0, 32);
      if (trace.draw(0, 3) == 0) waiting.push_back(job.job);
      note_arrivals({job.job}, 60'000, now_ms, history.arrivals);
    }
    const std::vector<WorkerFacts> workers = {scenario_.workers[0].facts};
    Settings settings = scenario_.settings;
    const Verdict with = decide(settings, history, waiting, workers, scenario_.known, now_ms);
    settings.anticipate = false;
    const Verdict without = decide(settings, history, waiting, workers, scenario_.known, now_ms);
    std::sort(waiting.begin(), waiting.end(), runs_before);
    ASSERT_EQ(with.decisions.size(), waiting.size());
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      const Decision& one = with.decisions[i];
      ASSERT_EQ(one.id, waiting[i].id);
      ASSERT_GE(one.plan, without.decisions[i].plan);
      ASSERT_LE(*one.finish_ms, *without.decisions[i].finish_ms);
      ASSERT_LE(one.late, without.decisions[i].late);
      if (one.plan == without.decisions[i].plan) continue;
      ++anticipated;
      ASSERT_EQ(one.reason, one.late ? Reason::kLateAnyway : Reason::kExpected);
      ASSERT_LE(one.plan, waiting[i].max_plan.value_or(32));
      ASSERT_LE(one.plan, 20U);
      ASSERT_GE(*one.quality, std::max(settings.min_quality, waiting[i].min_quality.value_or(0)));
      ASSERT_THAT(explain(one, settings, with), ::testing::HasSubstr("jobs come at"));
    }
  }
  EXPECT_GT(anticipated, 100);
}

}  // namespace
}  // namespace dslad::daemon::policy
