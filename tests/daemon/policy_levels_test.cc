// Each model has a plan in force of its own, which is never beyond what its workers offer.
#include <gmock/gmock.h>

#include "daemon/policy/policy.h"

namespace dslad::daemon::policy {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kStart = 1'000'000;

// Two models of eight layers, a worker each; with every converted layer a job of 1,000 tokens takes a tenth
// less.
class LevelsTest : public ::testing::Test {
 protected:
  LevelsTest() { costs_["fast"] = CostModel::recorded({0.2, 0.8e-3, 0, 0, 0, 0, 0}, 1, 1, 1); }

  static WorkerFacts worker(const std::string& model, std::uint32_t plans = 8) {
    WorkerFacts facts;
    facts.instance = facts.model = model;
    facts.speed_key = "fast";
    facts.model_digest = "digest of " + model;
    facts.layers = 8;
    facts.context = 8'192;
    for (std::uint32_t plan = 0; plan <= plans; ++plan)
      facts.plans.push_back({plan, 1 - 0.01 * plan, 800 - 100 * plan, 1'000 * plan});
    return facts;
  }

  // So many of 1,000 tokens, for the model or for any.
  std::vector<WaitingJob> jobs(const std::string& model, int count) {
    std::vector<WaitingJob> all;
    for (int i = 0; i < count; ++i) {
      WaitingJob& made = all.emplace_back();
      made.id = ++last_id_;
      made.client = "ada";
      made.model = model;
      made.submitted_ms = kStart;
      made.turn_ms = kStart + 86'400'000;
      made.size = {1'000, 0, 10};
    }
    return all;
  }

  Verdict decide_at(std::int64_t now_ms, const std::vector<WaitingJob>& waiting) {
    Verdict verdict = decide(settings_, history_, waiting, workers_, costs_, now_ms);
    history_ = verdict.history;
    return verdict;
  }

  [[nodiscard]] std::uint32_t level(const std::string& model) const {
    return history_.level_of("digest of " + model);
  }

  Settings settings_{.min_quality = 0.9, .target_drain_ms = 10'000};
  History history_;
  std::vector<WorkerFacts> workers_ = {worker("a"), worker("b")};
  CostModels costs_;
  std::int64_t last_id_ = 0;
};

TEST_F(LevelsTest, ABacklogOfOneModelLeavesTheOthersLevelAtZero) {
  std::vector<WaitingJob> waiting = jobs("a", 100);
  waiting.push_back(jobs("b", 1).front());
  const Verdict verdict = decide_at(kStart, waiting);
  EXPECT_EQ(level("a"), 8U);
  EXPECT_EQ(level("b"), 0U);
  EXPECT_EQ(verdict.decisions.back().plan, 0U);
  const ModelVerdict& own = verdict.models.at("digest of b");
  EXPECT_EQ(own.why, "");
  EXPECT_EQ(own.load.jobs, 1U);
  EXPECT_NEAR(own.load.drain_at_plan_0_ms, 1'000, 1)
      << "what waits for the other model is no load of its own";
}

TEST_F(LevelsTest, EachModelFallsAfterItsOwnDwell) {
  decide_at(kStart, jobs("a", 100));
  decide_at(kStart + 8'000, jobs("b", 100));
  EXPECT_EQ(level("a"), 8U);
  EXPECT_EQ(level("b"), 8U);
  decide_at(kStart + 12'000, {});
  EXPECT_EQ(level("a"), 0U);
  EXPECT_EQ(level("b"), 8U);
  decide_at(kStart + 20'000, {});
  EXPECT_EQ(level("b"), 0U);
}

TEST_F(LevelsTest, WhatAChangeCostsIsOfTheModelThatChanges) {
  settings_.dwell_ms = 1'000;
  workers_[0].read = {{7, 8, 1'000, true}};
  std::vector<WaitingJob> waiting = jobs("a", 100);
  for (const WaitingJob& one : jobs("b", 100)) waiting.push_back(one);
  const Verdict verdict = decide_at(kStart, waiting);
  decide_at(kStart + 2'000, {});
  EXPECT_EQ(level("a"), 8U) << "its document would be read again";
  EXPECT_EQ(level("b"), 0U);
  EXPECT_EQ(verdict.models.at("digest of b").change_cost_ms, 0);
}

TEST_F(LevelsTest, ThresholdLooksAtEachModelsOwnQueue) {
  settings_.kind = PolicyKind::kThreshold;
  std::vector<WaitingJob> waiting = jobs("a", 60);
  const std::vector<WaitingJob> other = jobs("b", 3);
  for (const WaitingJob& one : other) waiting.push_back(one);
  for (std::int64_t now_ms = kStart; now_ms < kStart + 150'000; now_ms += 1'000) {
    const Verdict verdict = decide_at(now_ms, waiting);
    for (const Decision& one : verdict.decisions) {
      ASSERT_TRUE(one.plan == 0 || one.id < other.front().id);
    }
  }
  EXPECT_EQ(level("a"), 3U);
  EXPECT_EQ(level("b"), 0U);
}

TEST_F(LevelsTest, JobsThatAnyModelMayAnswerCountForTheOneThatIsToAnswerThem) {
  workers_[1].busy_ms = 1'000'000;
  decide_at(kStart, jobs("", 40));
  EXPECT_EQ(level("a"), 8U);
  EXPECT_EQ(level("b"), 0U);
}

TEST_F(LevelsTest, AStaticPlanBeyondTheChainIsInForceAsFarAsTheChainGoes) {
  settings_.kind = PolicyKind::kStatic;
  settings_.static_plan = 6;
  workers_[1] = worker("b", 4);
  std::vector<WaitingJob> waiting = jobs("b", 2);
  waiting[1].max_plan = 2;
  const Verdict verdict = decide_at(kStart, waiting);
  EXPECT_EQ(level("a"), 6U);
  EXPECT_EQ(level("b"), 4U);
  EXPECT_THAT(verdict.models.at("digest of b").why, HasSubstr("no worker offers one above 4"));
  EXPECT_EQ(verdict.decisions[0].plan, 4U);
  EXPECT_EQ(verdict.decisions[0].reason, Reason::kChainEnds);
  EXPECT_THAT(explain(verdict.decisions[0], settings_, verdict),
              HasSubstr("plan 4 is the largest that a worker which can take it offers; plan 6 is set"));
  EXPECT_EQ(verdict.decisions[1].reason, Reason::kTerms);
  settings_.min_quality = 0.965;
  EXPECT_THAT(decide_at(kStart, {}).models.at("digest of b").why, HasSubstr("the floor of 0.965"));
  EXPECT_EQ(level("b"), 3U);
}

TEST_F(LevelsTest, WhatWorkersNoLongerOfferIsNotInForce) {
  decide_at(kStart, jobs("a", 100));
  ASSERT_EQ(level("a"), 8U);
  workers_[0] = worker("a", 3);
  const Verdict verdict = decide_at(kStart + 100, {});
  EXPECT_EQ(level("a"), 3U);
  EXPECT_THAT(verdict.models.at("digest of a").why, HasSubstr("plan 3 is the largest"));
}

TEST_F(LevelsTest, ThresholdDoesNotCountLayersThatNoWorkerOffers) {
  settings_.kind = PolicyKind::kThreshold;
  workers_ = {worker("a", 2)};
  for (std::int64_t now_ms = kStart; now_ms < kStart + 600'000; now_ms += 1'000)
    decide_at(now_ms, jobs("a", 60));
  EXPECT_EQ(level("a"), 2U);
}

TEST_F(LevelsTest, AModelWhoseWorkerIsAwayForAMomentKeepsItsLevelAndLaterItFalls) {
  decide_at(kStart, jobs("a", 100));
  workers_.erase(workers_.begin());
  EXPECT_FALSE(decide_at(kStart + 1'000, {}).models.contains("digest of a")) << "nothing is claimed of it";
  workers_.push_back(worker("a"));
  decide_at(kStart + 2'000, {});
  EXPECT_EQ(level("a"), 8U);
  workers_.pop_back();
  decide_at(kStart + 60'000, {});
  workers_.push_back(worker("a"));
  decide_at(kStart + 61'000, {});
  EXPECT_EQ(level("a"), 0U);
  workers_.clear();
  decide_at(kStart + 62'000, {});
  EXPECT_TRUE(history_.levels.empty()) << "nothing is remembered of models that went on plan 0";
}

TEST_F(LevelsTest, UnderManualEachModelsJobsArePredictedOnItsOwnPlan) {
  settings_ = {.kind = PolicyKind::kManual, .min_quality = 0};
  history_.levels["digest of a"].plan = 8;
  std::vector<WaitingJob> waiting = jobs("a", 1);
  waiting.push_back(jobs("b", 1).front());
  const Verdict verdict = decide_at(kStart, waiting);
  EXPECT_EQ(verdict.decisions[0].plan, 8U);
  EXPECT_EQ(verdict.decisions[1].plan, 0U);
  EXPECT_EQ(level("a"), 8U);
}

}  // namespace
}  // namespace dslad::daemon::policy
