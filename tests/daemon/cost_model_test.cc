// What the cost model makes of jobs whose work follows a known rule.
#include "daemon/policy/cost_model.h"

#include <gtest/gtest.h>
#include <limits>
#include <random>

namespace dslad::daemon::policy {
namespace {

// Milliseconds of a machine that the model has to find out about.
struct Machine {
  double token = 0.5, pair = 1e-4, converted = 0.05;      // a, b, c
  double step = 2, shared = 20, key = 1e-3, state = 0.3;  // d, e, f, g
  double slower = 1;

  [[nodiscard]] Work work(double prompt, double output, const PlanShape& plan, double batch) const {
    return {slower * prompt * (token + pair * plan.attention * prompt + converted * plan.states),
            slower * output *
                (step + shared / batch + key * plan.attention * (prompt + output / 2) + state * plan.states)};
  }
};

class CostModelTest : public ::testing::Test {
 protected:
  Observation job(double share, double noise = 0.05) {
    std::uniform_real_distribution<double> length(200, 8'000);
    std::uniform_real_distribution<double> output(10, 200);
    std::uniform_int_distribution<int> batch(1, 8);
    std::normal_distribution<double> error(1, noise);
    Observation seen;
    seen.prompt_tokens = std::floor(length(random_));
    seen.output_tokens = std::floor(output(random_));
    seen.size.bytes = static_cast<std::uint64_t>(3.5 * seen.prompt_tokens);
    seen.size.max_tokens = 200;
    seen.plan = {share, 1 - share};
    seen.batch = batch(random_);
    seen.work = machine_.work(seen.prompt_tokens, seen.output_tokens, seen.plan, seen.batch);
    seen.work.prefill_ms *= std::max(0.1, error(random_));
    seen.work.decode_ms *= std::max(0.1, error(random_));
    return seen;
  }

  void expect_near(double prompt, double output, double share, double batch, double within) const {
    const PlanShape plan{share, 1 - share};
    const Work told = model_.of_tokens(prompt, output, plan, batch);
    const Work truth = machine_.work(prompt, output, plan, batch);
    EXPECT_NEAR(told.prefill_ms / truth.prefill_ms, 1, within) << prompt << " tokens, share " << share;
    EXPECT_NEAR(told.decode_ms / truth.decode_ms, 1, within) << prompt << " tokens, share " << share;
  }

  Machine machine_;
  CostModel model_;
  std::mt19937 random_{7};
};

TEST_F(CostModelTest, FindsTheRuleBehindNoisyJobs) {
  for (int i = 0; i < 200; ++i) model_.learn(job(i % 3 == 0 ? 1.0 : i % 3 == 1 ? 0.5 : 0.0));
  for (const double share : {1.0, 0.5, 0.0}) {
    expect_near(1'000, 50, share, 1, 0.1);
    expect_near(8'000, 100, share, 4, 0.1);
  }
  EXPECT_LT(model_.error(0.5), 1.0);
}

// Questions on a document that was read before take a small part of its time and say nothing else of speed.
TEST_F(CostModelTest, LearnsTheSameWhereDocumentsWereReadBefore) {
  for (int i = 0; i < 200; ++i) {
    Observation seen = job(i % 2 == 0 ? 1.0 : 0.5);
    if (i % 10 > 0) {
      seen.reused_tokens = std::floor(0.95 * seen.prompt_tokens);
      const Work before = machine_.work(seen.reused_tokens, 0, seen.plan, 1);
      seen.work.prefill_ms =
          machine_.work(seen.prompt_tokens, 0, seen.plan, 1).prefill_ms - before.prefill_ms;
    }
    model_.learn(seen);
  }
  for (const double share : {1.0, 0.5}) {
    expect_near(1'000, 50, share, 1, 0.1);
    expect_near(8'000, 100, share, 4, 0.1);
  }
  EXPECT_LT(model_.error(0.9), 1.0) << "of jobs that were read whole";
}

TEST_F(CostModelTest, PredictsAPlanThatNeverRan) {
  for (int i = 0; i < 200; ++i) model_.learn(job(i % 2 == 0 ? 1.0 : 0.75));
  expect_near(6'000, 100, 0.25, 4, 0.15);
  expect_near(2'000, 50, 0.0, 2, 0.2);
}

// The last layers of a chain may be wider, and slower than their size says: found out once, it is not tried
// again because other plans were used meanwhile.
TEST_F(CostModelTest, RemembersThatAPlanIsSlowerThanItsSizeSays) {
  const auto slow_job = [&] {
    Observation seen = job(0);
    seen.work.prefill_ms *= 2;
    seen.work.decode_ms *= 2;
    return seen;
  };
  for (int i = 0; i < 6; ++i) model_.learn(slow_job());
  for (int i = 0; i < 150; ++i) model_.learn(job(i % 2 == 0 ? 1.0 : 0.5));
  const auto of_truth = [&](double share) {
    const PlanShape plan{share, 1 - share};
    return model_.of_tokens(4'000, 100, plan, 2).total_ms() / machine_.work(4'000, 100, plan, 2).total_ms();
  };
  EXPECT_GT(of_truth(0), 1.6);
  EXPECT_LT(of_truth(0), 2.2);
  EXPECT_NEAR(of_truth(0.5), 1, 0.1);
  EXPECT_NEAR(of_truth(1), 1, 0.1);
  EXPECT_GT(of_truth(0.1), of_truth(0.4)) << "what lies between is between";
  for (int i = 0; i < 40; ++i) model_.learn(job(0));
  EXPECT_NEAR(of_truth(0), 1, 0.15) << "it is no longer slow";
}

TEST_F(CostModelTest, IsOfUseFromTheFirstJobOn) {
  const Observation first = job(1, 0);
  model_.learn(first);
  const Work told = model_.of_tokens(first.prompt_tokens, first.output_tokens, {}, first.batch);
  EXPECT_NEAR(told.prefill_ms / first.work.prefill_ms, 1, 0.01);
  EXPECT_NEAR(told.decode_ms / first.work.decode_ms, 1, 0.01);
}

TEST_F(CostModelTest, OneAbsurdJobChangesLittleAndNonsenseNothing) {
  for (int i = 0; i < 100; ++i) model_.learn(job(i % 2));
  const std::uint64_t jobs = model_.jobs();
  const double before = model_.of_tokens(4'000, 100, {}, 2).total_ms();
  Observation absurd = job(1);
  absurd.work = {1e9, 1e9};
  model_.learn(absurd);
  absurd.work = {1e-9, 1e-9};
  model_.learn(absurd);
  EXPECT_NEAR(model_.of_tokens(4'000, 100, {}, 2).total_ms() / before, 1, 0.25);
  for (const double nonsense :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0}) {
    Observation seen = job(1);
    seen.work.prefill_ms = nonsense;
    model_.learn(seen);
    seen = job(1);
    seen.prompt_tokens = nonsense;
    model_.learn(seen);
    seen = job(1);
    seen.batch = nonsense;
    model_.learn(seen);
  }
  EXPECT_EQ(model_.jobs(), jobs + 2);
}

TEST_F(CostModelTest, FollowsAMachineThatBecomesSlower) {
  for (int i = 0; i < 200; ++i) model_.learn(job(i % 2));
  machine_.slower = 2;
  for (int i = 0; i < 150; ++i) model_.learn(job(i % 2));
  expect_near(4'000, 100, 1, 2, 0.15);
  expect_near(4'000, 100, 0, 2, 0.15);
}

TEST_F(CostModelTest, LearnsTheSizesOfTokensAndAnswers) {
  for (int i = 0; i < 100; ++i) {
    Observation seen = job(1);
    seen.output_tokens = 50;  // of 200 that it may have
    model_.learn(seen);
  }
  const JobSize size{7'000, 0, 100};
  EXPECT_NEAR(model_.prompt_tokens(size), 2'000, 20);
  EXPECT_GE(model_.most_prompt_tokens(size), 1'990);
  EXPECT_NEAR(model_.output_tokens(size), 25, 1);
  EXPECT_NEAR(model_.output_tokens({7'000, 4, 100}), 100, 4);
}

TEST_F(CostModelTest, ADocumentBeyondTheContextCostsWhatIsReadOfIt) {
  for (int i = 0; i < 100; ++i) model_.learn(job(i % 2));
  const PlanShape plan{0.5, 0.5};
  JobSize size{70'000, 0, 100};  // 20,000 tokens
  const Work whole = model_.of(size, plan);
  EXPECT_EQ(model_.of(size, plan, 4'000).total_ms(), whole.total_ms()) << "nobody cuts it";
  size.overflow = schema::Overflow::kTruncate;
  const Work cut = model_.of(size, plan, 4'000);
  EXPECT_NEAR(cut.total_ms(), model_.of({14'000, 0, 100}, plan).total_ms(), cut.total_ms() * 0.02);
  EXPECT_EQ(model_.of(size, plan, 50'000).total_ms(), whole.total_ms()) << "it fits";
  size.overflow = schema::Overflow::kMapReduce;
  EXPECT_NEAR(model_.of(size, plan, 4'000).total_ms(), 5 * cut.total_ms(), cut.total_ms() * 0.1);
}

TEST_F(CostModelTest, OneThatWasRecordedPredictsTheSame) {
  for (int i = 0; i < 100; ++i) model_.learn(job(i % 2));
  const CostModel same = CostModel::recorded(model_.coefficients(), model_.bytes_per_token(),
                                             model_.output_share(), 3, model_.plan_speeds());
  for (const double share : {1.0, 0.5, 0.0}) {
    EXPECT_DOUBLE_EQ(same.of_tokens(3'000, 90, {share, 1 - share}, 3).total_ms(),
                     model_.of_tokens(3'000, 90, {share, 1 - share}, 3).total_ms());
  }
  EXPECT_DOUBLE_EQ(same.prompt_tokens({9'000, 0, 10}), model_.prompt_tokens({9'000, 0, 10}));
}

}  // namespace
}  // namespace dslad::daemon::policy
