// What the policy decides: cases with known answers, and what must hold whatever waits.
#include "daemon/policy/policy.h"

#include <gmock/gmock.h>
#include <random>

#include "daemon/policy/level.h"
#include "tests/daemon/policy_fixture.h"

namespace dslad::daemon::policy {
namespace {

using test::PolicyTest;

TEST_F(PolicyTest, WhatIsInTimeStaysOnPlanZero) {
  const Verdict verdict = decide_now(jobs(10));
  EXPECT_THAT(plans(verdict), ::testing::Each(0U));
  EXPECT_EQ(verdict.history.level_of("d1"), 0U);
  EXPECT_NEAR(verdict.drain_ms, 10'000, 1);
  EXPECT_EQ(verdict.decisions.front().start_ms, kNow);
  EXPECT_EQ(verdict.decisions.back().finish_ms, kNow + 10'000);
  EXPECT_EQ(verdict.decisions.front().reason, Reason::kNoLoad);
}

TEST_F(PolicyTest, TheSmallestPlanThatIsEnoughOfAsFewJobsAsNeeded) {
  const Verdict verdict = decide_now(jobs(12));  // 2 s too long; a plan saves 0.1 s a job
  EXPECT_LE(verdict.drain_ms, 10'000 + 1);
  EXPECT_GT(verdict.drain_ms, 9'800);
  EXPECT_EQ(verdict.history.level_of("d1"), 2U);
  const std::vector<std::uint32_t> given = plans(verdict);
  EXPECT_EQ(std::count(given.begin(), given.end(), 2U), 8);
  EXPECT_EQ(std::count(given.begin(), given.end(), 1U), 4);
}

TEST_F(PolicyTest, NoJobRunsBelowItsFloorOrAboveItsOwnLimit) {
  settings_.min_quality = 0.95;
  std::vector<WaitingJob> waiting = jobs(100);
  waiting[0].min_quality = 0.98;
  waiting[1].max_plan = 0;
  waiting[2].max_plan = 3;
  waiting[3].min_quality = 0.5;  // the floor of all is above it
  const Verdict verdict = decide_now(waiting);
  EXPECT_EQ(verdict.decisions[0].plan, 2U);
  EXPECT_EQ(verdict.decisions[1].plan, 0U);
  EXPECT_EQ(verdict.decisions[2].plan, 3U);
  EXPECT_EQ(verdict.decisions[3].plan, 5U);
  EXPECT_EQ(verdict.decisions[99].plan, 5U);
}

TEST_F(PolicyTest, AFloorAboveEveryPlanMeansPlanZero) {
  settings_.min_quality = 1;
  EXPECT_THAT(plans(decide_now(jobs(100))), ::testing::Each(0U));
}

// Such jobs were once told that they are in time.
TEST_F(PolicyTest, AJobThatIsLateOnItsOnlyPlanIsToldSoAndWhatAllowsNoLargerOne) {
  settings_.target_drain_ms = 1'000;
  const auto why = [&](const std::vector<WaitingJob>& waiting) {
    const Verdict verdict = decide(settings_, {}, waiting, workers_, costs_, kNow);
    EXPECT_EQ(verdict.decisions.back().plan, 0U);
    return explain(verdict.decisions.back(), settings_, verdict);
  };
  const auto late_and = [](const std::string& bound) {
    return "it is wanted within 1.0 s and ends 5.0 s late on plan 0; " + bound;
  };
  const std::vector<WaitingJob> six = jobs(6);
  std::vector<WaitingJob> exact = six, own_floor = six, deadline = six;
  for (WaitingJob& one : exact) one.max_plan = 0;
  for (WaitingJob& one : own_floor) one.min_quality = 0.995;
  for (WaitingJob& one : deadline) one.turn_ms = *(one.deadline_ms = kNow + 1'000);

  EXPECT_EQ(why(exact), late_and("no larger plan is allowed: plan 1 of 99% of plan 0's quality is above plan "
                                 "0 of its own terms"));
  EXPECT_EQ(why(own_floor), late_and("no larger plan is allowed: plan 1 of 99% of plan 0's quality is below "
                                     "the 99.5% of its own terms"));
  settings_.min_quality = 1;
  const std::string floor =
      "no larger plan is allowed: plan 1 of 99% of plan 0's quality is below the floor of 100%";
  EXPECT_EQ(why(six), late_and(floor));
  EXPECT_EQ(why({six[0]}), "in time on plan 0: what waits takes 1.0 s");
  EXPECT_EQ(why(deadline), "it misses its deadline by 5.0 s on every plan that it allows; " + floor);
  EXPECT_THAT(why(own_floor), ::testing::HasSubstr("is below the floor of 100% and is below the 99.5%"));

  settings_.min_quality = 0.5;
  for (PlanFacts& plan : workers_[0].plans) plan.quality.reset();
  EXPECT_EQ(why(six), late_and("no larger plan is allowed: plan 1, which was not measured, counts as below "
                               "the floor of 50%"));
  workers_[0].plans.resize(1);
  workers_[0].withdrawn = 1;
  EXPECT_EQ(why(six),
            late_and("plans from 1 on are given to no job, as answers agree too little with plan 0's"));
  workers_[0].withdrawn.reset();
  EXPECT_EQ(why(six), late_and("no worker that can take it has a distilled layer to use"));
  workers_[0].plans.clear();
  EXPECT_EQ(why(six), late_and("no worker that can take it has a distilled layer to use"));
}

TEST_F(PolicyTest, AJobThatMayNotBeMadeCheaperIsInTimeByWayOfThoseBeforeIt) {
  std::vector<WaitingJob> waiting = jobs(12);
  waiting.back().max_plan = 0;
  const Verdict verdict = decide_now(waiting);
  EXPECT_EQ(verdict.decisions.back().reason, Reason::kOthers);
  EXPECT_THAT(explain(verdict.decisions.back(), settings_, verdict),
              ::testing::StartsWith("in time on plan 0, as jobs before it are on larger plans"));
}

TEST_F(PolicyTest, WhatIsLateOnItsLargestPlanIsToldWhatAllowsNoLargerOne) {
  settings_.min_quality = 0.97;
  const Verdict verdict = decide_now(jobs(40));
  EXPECT_EQ(verdict.decisions.back().plan, 3U);
  EXPECT_EQ(verdict.decisions.back().reason, Reason::kTarget);
  EXPECT_THAT(explain(verdict.decisions.back(), settings_, verdict),
              ::testing::EndsWith("plan 4 of 96% of plan 0's quality is below the floor of 97%"));
}

TEST_F(PolicyTest, PlansThatWereNotMeasuredNeedAFloorOfZero) {
  for (PlanFacts& plan : workers_[0].plans) plan.quality.reset();
  EXPECT_THAT(plans(decide_now(jobs(100))), ::testing::Each(0U));
  settings_.min_quality = 0;
  EXPECT_THAT(plans(decide_now(jobs(100))), ::testing::Each(8U));
}

// With plan 4 measured at 0.99 and plan 6 at 0.9, plan 5 once seemed to cost 0.005.
TEST_F(PolicyTest, APlanThatWasNotMeasuredIsNoBargainBesideThoseThatWere) {
  settings_.min_quality = 0;
  std::erase_if(workers_[0].plans,
                [](const PlanFacts& plan) { return plan.plan % 2 == 1 && plan.plan != 5; });
  for (PlanFacts& plan : workers_[0].plans) {
    if (plan.plan == 5) plan.quality.reset();
    if (plan.plan == 4) plan.quality = 0.99;
    if (plan.plan >= 6) plan.quality = 0.9;
  }
  // 0.6 s each on plan 4: enough, and the cheapest step by far.
  EXPECT_THAT(plans(decide_now(jobs(16))), ::testing::Each(::testing::Le(4U)));
}

TEST_F(PolicyTest, ADeadlineIsMetAtThePriceOfTheClientWhoseTokensAreTheBacklog) {
  settings_.target_drain_ms = 3'600'000;
  std::vector<WaitingJob> waiting = jobs(20, "bulk");
  for (WaitingJob& one : waiting) one.priority = 1;  // ahead of it
  WaitingJob urgent = job("ada");
  urgent.deadline_ms = urgent.turn_ms = kNow + 15'000;
  waiting.push_back(urgent);
  const Verdict verdict = decide_now(waiting);
  const Decision& last = verdict.decisions.back();
  EXPECT_EQ(last.id, urgent.id);
  EXPECT_FALSE(last.late);
  EXPECT_EQ(last.plan, 0U);
  EXPECT_GE(verdict.decisions.front().plan, 3U);
}

TEST_F(PolicyTest, WhatComesBehindADeadlineIsNotDegradedForIt) {
  settings_.target_drain_ms = 3'600'000;
  WaitingJob urgent = job("ada");
  urgent.deadline_ms = urgent.turn_ms = kNow + 600;
  std::vector<WaitingJob> waiting = jobs(50, "bulk");
  waiting.push_back(urgent);
  const Verdict verdict = decide_now(waiting);
  EXPECT_EQ(verdict.decisions[0].id, urgent.id);
  EXPECT_EQ(verdict.decisions[0].plan, 4U);
  EXPECT_EQ(verdict.decisions[0].reason, Reason::kDeadline);
  for (std::size_t i = 1; i < verdict.decisions.size(); ++i) EXPECT_EQ(verdict.decisions[i].plan, 0U);
}

TEST_F(PolicyTest, ADeadlineThatNothingCanSaveDegradesNobodyElse) {
  settings_.target_drain_ms = 3'600'000;
  std::vector<WaitingJob> waiting = jobs(20);
  for (WaitingJob& one : waiting) one.priority = 1;
  WaitingJob hopeless = job("ada");
  hopeless.deadline_ms = hopeless.turn_ms = kNow + 10;
  waiting.push_back(hopeless);
  const Verdict verdict = decide_now(waiting);
  EXPECT_TRUE(verdict.decisions.back().late);
  EXPECT_EQ(verdict.decisions.back().plan, 8U);  // as little late as can be
  std::vector<std::uint32_t> others = plans(verdict);
  others.pop_back();
  EXPECT_THAT(others, ::testing::Each(0U));
}

TEST_F(PolicyTest, TheLevelRisesAtOnceAndFallsAfterTheDwell) {
  EXPECT_EQ(decide_at(kNow, jobs(100)).history.level_of("d1"), 8U);
  EXPECT_EQ(decide_at(kNow + 200, {}).history.level_of("d1"), 8U);
  EXPECT_EQ(decide_at(kNow + settings_.dwell_ms - 1, {}).history.level_of("d1"), 8U);
  EXPECT_EQ(decide_at(kNow + 2 * settings_.dwell_ms, {}).history.level_of("d1"), 0U);
}

// Another plan would have to read it again.
TEST_F(PolicyTest, ADocumentThatWasReadStaysOnItsPlanWhereThatIsSooner) {
  workers_[0].read = {{7, 0, 950, true}};
  std::vector<WaitingJob> waiting = jobs(14);  // 14 s on plan 0, and 10 s are allowed
  for (std::size_t i = 0; i < 4; ++i) waiting[i].document = 7;
  const Verdict known = decide_now(waiting);
  EXPECT_LE(known.drain_at_plan_0_ms, 10'200 + 4 * 50 + 1);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(known.decisions[i].plan, 0U) << i;
}

TEST_F(PolicyTest, ADocumentThatWasReadOnALargerPlanIsNoReasonForIt) {
  workers_[0].read = {{7, 8, 950, true}};
  std::vector<WaitingJob> waiting = jobs(3);
  for (WaitingJob& one : waiting) one.document = 7;
  EXPECT_EQ(plans(decide_now(waiting)), (std::vector<std::uint32_t>{0, 0, 0}));
  // But where jobs are late it is the first to be used: no step saves more.
  waiting = jobs(12);
  waiting.back().document = 7;
  const std::vector<std::uint32_t> late = plans(decide_now(waiting));
  EXPECT_EQ(late.back(), 8U);
}

TEST_F(PolicyTest, TheDwellIsInProportionToWhatAChangeCosts) {
  settings_.dwell_ms = 1'000;
  workers_[0].read = {{7, 8, 1'000, true}, {8, 8, 1'000, true}, {9, 8, 1'000, false}, {7, 0, 1'000, true}};
  EXPECT_EQ(decide_at(kNow, jobs(100)).history.level_of("d1"), 8U);
  // Two documents that were asked about again, 0.2 s each on plan 8: twenty times that is 8 s.
  EXPECT_NEAR(decide_at(kNow + 100, {}).models.at("d1").change_cost_ms, 400, 10);
  EXPECT_EQ(decide_at(kNow + 7'500, {}).history.level_of("d1"), 8U);
  EXPECT_EQ(decide_at(kNow + 16'500, {}).history.level_of("d1"), 0U);
}

TEST_F(PolicyTest, JobsGoToWorkersOfTheirModelAndSize) {
  workers_.push_back(worker("other"));
  workers_[1].model = "huge";
  workers_[1].model_digest = "d2";
  workers_[1].context = 100'000;
  std::vector<WaitingJob> waiting = jobs(3);
  waiting[0].model = "huge";
  waiting[1].size.bytes = 50'000;
  waiting[2].model = "none";
  const Verdict verdict = decide_now(waiting);
  EXPECT_TRUE(verdict.decisions[0].finish_ms.has_value());
  EXPECT_TRUE(verdict.decisions[1].finish_ms.has_value());
  EXPECT_EQ(verdict.decisions[2].reason, Reason::kNobody);
}

TEST_F(PolicyTest, ADocumentThatIsCutOrReadInPartsFitsEveryContext) {
  workers_[0].cache_bytes = 8'192 * 1'000;
  std::vector<WaitingJob> waiting = jobs(3);
  for (WaitingJob& job : waiting) job.size.bytes = 400'000;
  waiting[1].size.overflow = schema::Overflow::kTruncate;
  waiting[2].size.overflow = schema::Overflow::kMapReduce;
  const Verdict verdict = decide_now(waiting);
  EXPECT_EQ(verdict.decisions[0].reason, Reason::kNobody);
  EXPECT_TRUE(verdict.decisions[1].finish_ms.has_value());
  EXPECT_TRUE(verdict.decisions[2].finish_ms.has_value());
}

TEST_F(PolicyTest, AJobThatDoesNotFitTheCacheOnASmallPlanGetsALargerOne) {
  workers_[0].cache_bytes = 420'000;  // 1,000 tokens: 800 kB on plan 0, 404 kB with plan 4
  const Verdict verdict = decide_now(jobs(1));
  EXPECT_EQ(verdict.decisions[0].plan, 4U);
  EXPECT_EQ(verdict.decisions[0].reason, Reason::kMemory);
}

TEST_F(PolicyTest, WhatAWorkerMeasuredOfAJobCountsBeforeAnySpeedIsKnown) {
  costs_.clear();
  workers_[0].cache_bytes = 420'000;
  std::vector<WaitingJob> waiting = jobs(1);
  waiting[0].needs_tokens = 1'000;
  for (const PolicyKind kind : {PolicyKind::kDeadline, PolicyKind::kStatic, PolicyKind::kThreshold}) {
    settings_.kind = kind;
    const Verdict verdict = decide_now(waiting);
    EXPECT_EQ(verdict.decisions[0].plan, 4U);
    EXPECT_EQ(verdict.decisions[0].reason, Reason::kMemory);
    EXPECT_EQ(explain(verdict.decisions[0], settings_, verdict),
              "on a smaller plan it does not fit the worker's cache");
  }
  waiting[0].size.questions = 2;  // its states are there twice: 408 kB
  EXPECT_EQ(decide_now(waiting).decisions[0].plan, 4U);
  waiting[0].needs_tokens = 1'035;
  EXPECT_EQ(decide_now(waiting).decisions[0].plan, 5U);
  waiting[0].max_plan = 3;
  EXPECT_EQ(decide_now(waiting).decisions[0].reason, Reason::kNobody);
}

TEST_F(PolicyTest, OneThatIsLateSaysThatItFitsNoSmallerPlan) {
  workers_[0].cache_bytes = 420'000;
  std::vector<WaitingJob> waiting = jobs(1);
  waiting[0].deadline_ms = kNow + 10;
  waiting[0].max_plan = 4;
  const Verdict verdict = decide_now(waiting);
  EXPECT_EQ(verdict.decisions[0].plan, 4U);
  EXPECT_THAT(explain(verdict.decisions[0], settings_, verdict),
              ::testing::EndsWith("; on a smaller plan it does not fit the worker's cache"));
}

TEST_F(PolicyTest, WithoutWorkersJobsOrSpeedsItSaysSo) {
  costs_.clear();
  const Verdict unknown = decide_now(jobs(100));
  EXPECT_THAT(plans(unknown), ::testing::Each(0U));
  EXPECT_EQ(unknown.decisions[0].reason, Reason::kUnknownSpeed);
  EXPECT_FALSE(unknown.decisions[0].finish_ms.has_value());
  workers_.clear();
  EXPECT_EQ(decide_now(jobs(2)).decisions[1].reason, Reason::kNobody);
  EXPECT_TRUE(decide_now({}).decisions.empty());
}

TEST_F(PolicyTest, AWorkerWithoutAChainServesPlanZeroBesideOthers) {
  workers_.push_back(worker("plain"));
  workers_[1].plans.clear();
  const Verdict verdict = decide_now(jobs(100));
  EXPECT_TRUE(std::any_of(verdict.decisions.begin(), verdict.decisions.end(),
                          [](const Decision& one) { return one.plan == 8; }));
  for (const std::size_t laid_out : {0U, 1U}) {
    EXPECT_GT(std::ranges::count_if(verdict.decisions,
                                    [&](const Decision& one) { return one.reservation.worker == laid_out; }),
              10);
  }
  EXPECT_EQ(cap(workers_[1], 8, 0.9, std::nullopt), 0U);
  EXPECT_EQ(cap(workers_[0], 8, 0.95, std::nullopt), 5U);
  EXPECT_EQ(cap(workers_[0], 8, 0.95, 2), 2U);
}

TEST_F(PolicyTest, StaticGivesEveryJobItsPlanOrWhatItAllows) {
  settings_.kind = PolicyKind::kStatic;
  settings_.static_plan = 6;
  std::vector<WaitingJob> waiting = jobs(3);
  waiting[1].max_plan = 2;
  EXPECT_THAT(plans(decide_now(waiting)), ::testing::ElementsAre(6U, 2U, 6U));
  EXPECT_EQ(history_.level_of("d1"), 6U);
}

// The paper's code takes 24 minutes to convert 24 of 32 layers, whatever waits.
TEST_F(PolicyTest, ThresholdTakesOneLayerAMinute) {
  settings_.kind = PolicyKind::kThreshold;
  settings_.min_quality = 0;
  workers_[0].layers = 32;
  workers_[0].plans.clear();
  for (std::uint32_t plan = 0; plan <= 32; ++plan) workers_[0].plans.push_back({plan, 0.9, 0, 0});
  const std::vector<WaitingJob> waiting = jobs(60);
  std::int64_t now_ms = kNow;
  while (decide_at(now_ms, waiting).history.level_of("d1") < 24) now_ms += 1'000;
  EXPECT_NEAR(static_cast<double>(now_ms - kNow) / 60'000, 23, 0.5);
  for (int i = 0; i < 600; ++i) decide_at(now_ms += 1'000, waiting);
  EXPECT_EQ(history_.level_of("d1"), 24U);  // three quarters are its most
  std::vector<WaitingJob> calm = jobs(1);
  calm[0].size.bytes = 100;
  for (int i = 0; i < 120; ++i) decide_at(now_ms += 1'000, calm);
  EXPECT_EQ(history_.level_of("d1"), 22U);
}

TEST_F(PolicyTest, WithoutPlansOfTheirOwnEveryJobHasTheLevelThatItsTermsAllow) {
  settings_.target_drain_ms = 5'000;
  std::vector<WaitingJob> waiting = jobs(8);
  waiting[3].max_plan = 1;
  const Verdict own = decide_now(waiting);
  EXPECT_GT(distinct(plans(own)), 2U);
  history_ = {};
  settings_.without.own_plans = true;
  const Verdict alike = decide_now(waiting);
  EXPECT_EQ(alike.history.level_of("d1"), own.history.level_of("d1"));
  for (const Decision& one : alike.decisions) {
    EXPECT_EQ(one.plan, one.id == waiting[3].id ? 1U : alike.history.level_of("d1"));
  }
  EXPECT_LE(alike.drain_ms, own.drain_ms);
}

TEST_F(PolicyTest, WithoutLengthsJobsAreButCounted) {
  settings_.target_drain_ms = 5'000;
  settings_.without.lengths = true;
  std::vector<WaitingJob> waiting = jobs(8);
  waiting[0].size.bytes = 7'300;  // and all others a tenth: the mean is what it was
  for (std::size_t i = 1; i < waiting.size(); ++i) waiting[i].size.bytes = 100;
  const Verdict counted = decide_now(waiting);
  history_ = {};
  const Verdict mean = decide_now(jobs(8));
  EXPECT_EQ(counted.history.level_of("d1"), mean.history.level_of("d1"));
  EXPECT_NEAR(counted.drain_at_plan_0_ms, mean.drain_at_plan_0_ms, 0.01 * mean.drain_at_plan_0_ms);
}

class PolicyProperties : public PolicyTest, public ::testing::WithParamInterface<int> {
 protected:
  int draw(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_); }

  void make_world() {
    settings_.min_quality = draw(0, 3) == 0 ? 0 : 0.9 + 0.02 * draw(0, 5);
    settings_.target_drain_ms = draw(1, 60) * 1'000;
    workers_.clear();
    for (int i = draw(1, 3); i > 0; --i) {
      WorkerFacts& facts = workers_.emplace_back(worker(std::to_string(i)));
      facts.busy_ms = draw(0, 5'000);
      if (draw(0, 3) == 0) facts.plans.resize(static_cast<std::size_t>(draw(1, 9)));
      if (draw(0, 3) == 0) facts.model = facts.model_digest = "other";
    }
  }

  std::vector<WaitingJob> draw_jobs() {
    std::vector<WaitingJob> all;
    for (int i = draw(0, 60); i > 0; --i) {
      WaitingJob& one = all.emplace_back(job("client" + std::to_string(draw(0, 3))));
      one.size = {static_cast<std::uint64_t>(draw(0, 8'000)), static_cast<std::uint32_t>(draw(0, 3)), 10};
      one.priority = draw(-1, 1);
      one.submitted_ms = kNow - draw(0, 120'000);
      if (draw(0, 2) == 0) one.deadline_ms = one.turn_ms = kNow + draw(-5'000, 60'000);
      if (draw(0, 4) == 0) one.min_quality = 0.9 + 0.01 * draw(0, 10);
      if (draw(0, 4) == 0) one.max_plan = draw(0, 8);
      if (draw(0, 4) == 0) one.model = draw(0, 1) == 0 ? "tiny" : "other";
    }
    std::shuffle(all.begin(), all.end(), random_);
    return all;
  }

  std::mt19937 random_{static_cast<unsigned>(GetParam())};
};

TEST_P(PolicyProperties, HoldWhateverWaits) {
  for (int round = 0; round < 100; ++round) {
    make_world();
    std::vector<WaitingJob> waiting = draw_jobs();
    const History before = history_;
    const Verdict verdict = decide_now(waiting);
    ASSERT_EQ(verdict.decisions.size(), waiting.size());
    std::sort(waiting.begin(), waiting.end(), runs_before);
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      const Decision& one = verdict.decisions[i];
      ASSERT_EQ(one.id, waiting[i].id);
      if (one.plan == 0) continue;
      ASSERT_LE(one.plan, waiting[i].max_plan.value_or(8));
      const double floor = std::max(settings_.min_quality, waiting[i].min_quality.value_or(0));
      ASSERT_GE(1 - 0.01 * one.plan + 1e-9, floor);
      ASSERT_TRUE(std::any_of(workers_.begin(), workers_.end(), [&](const WorkerFacts& worker) {
        return one.plan < worker.plans.size() &&
               (waiting[i].model.empty() || waiting[i].model == worker.model);
      }));
    }
    for (const Decision& one : verdict.decisions) {
      const std::uint32_t most =
          most_allowed(workers_, one.model_digest, one.plan, settings_.min_quality);  // of those of any model
      ASSERT_GE(verdict.history.level_of(one.model_digest), most);
    }
    ASSERT_LE(verdict.drain_ms, verdict.drain_at_plan_0_ms + 1e-6);
    // The same again.
    ASSERT_EQ(plans(decide(settings_, before, waiting, workers_, costs_, kNow)), plans(verdict));
    // Nobody is degraded where plan 0 is in time for all.
    Settings patient = settings_;
    patient.target_drain_ms = 1'000'000'000;
    for (WaitingJob& one : waiting) one.deadline_ms.reset();
    ASSERT_THAT(plans(decide(patient, {}, waiting, workers_, costs_, kNow)), ::testing::Each(0U));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, PolicyProperties, ::testing::Range(0, 12));

}  // namespace
}  // namespace dslad::daemon::policy
