#include "worker/distill/allotment.h"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <vector>

namespace dslad::worker {
namespace {

constexpr double kRounding = 1e-6;

// A machine and a model as runs might meet them.
struct Trial {
  FirstMeasures measures;
  std::vector<LayerCost> layers;
  double used = 0, budget = 0;
  std::int64_t held_out = 0;
};

class AllottedTime : public ::testing::TestWithParam<int> {
 protected:
  AllottedTime() : random_(static_cast<std::uint64_t>(GetParam())) {}

  double between(double low, double high) {  // evenly in the logarithm
    return low * std::pow(high / low, std::uniform_real_distribution<>(0, 1)(random_));
  }

  Trial trial() {
    Trial out;
    const double scale = between(1e-3, 1e2);
    out.measures = {scale * between(0.3, 3), scale * between(1e-4, 1e-2), scale * between(1e-4, 3e-3), scale};
    const auto layers = static_cast<std::size_t>(1 + random_() % 40);
    double step = scale * 0.7;
    for (std::size_t i = 0; i < layers; ++i) {
      step *= 1 + 0.03 * between(0.1, 1);  // grows with the position
      out.layers.push_back({step, step * between(0.2, 8)});
    }
    out.used = scale * between(0.1, 10);
    out.held_out = static_cast<std::int64_t>(1 + random_() % 20'000);
    out.budget = least_budget(out.used, out.measures, out.held_out, limits_) * between(1, 1000);
    return out;
  }

  // Distils as a run does, each step taking `slower()` times what was foreseen; what was met last is foreseen
  // next. Returns the steps of the layers that came out, and adds to `used`.
  template <class Slower>
  std::vector<std::int64_t> distil(const Trial& trial, double& used, double& longest_step,
                                   const Slower& slower) {
    std::vector<std::int64_t> out;
    double factor = 1;
    for (std::size_t made = 0; made < trial.layers.size(); ++made) {
      std::vector<LayerCost> to_come(trial.layers.begin() + static_cast<std::ptrdiff_t>(made),
                                     trial.layers.end());
      for (LayerCost& layer : to_come) layer.chained_step *= factor;
      const auto steps = chained_steps(trial.budget, used, to_come, limits_);
      if (!steps) break;
      used += to_come.front().other / 2;
      std::int64_t done = 0;
      for (; done < *steps; ++done) {
        const double foreseen = trial.layers[made].chained_step * factor;
        if (!time_for_step(trial.budget, used, foreseen, to_come.front().other / 2)) break;
        factor = slower();
        used += trial.layers[made].chained_step * factor;
        longest_step = std::max(longest_step, trial.layers[made].chained_step * factor);
      }
      used += to_come.front().other / 2;
      out.push_back(done);
    }
    return out;
  }

  const AllotmentLimits limits_;
  std::mt19937_64 random_;
};

TEST_P(AllottedTime, SpeedsAsForeseen_EndsWithinTheBudgetAndNoLayerIsCutShort) {
  const Trial trial = this->trial();
  double used = trial.used, longest = 0;
  for (const std::int64_t steps : distil(trial, used, longest, [] { return 1.0; })) {
    if (steps == 0) continue;
    EXPECT_GE(steps, limits_.least_chained);
    EXPECT_LE(steps, limits_.most_chained);
  }
  EXPECT_LE(used, std::max(trial.budget, trial.used) * (1 + kRounding));
}

TEST_P(AllottedTime, SpeedsThatChange_EndsAtMostAStepLater) {
  const Trial trial = this->trial();
  double used = trial.used, longest = 0;
  distil(trial, used, longest, [&] { return between(0.25, 4); });
  EXPECT_LE(used, std::max(trial.budget, trial.used) * (1 + kRounding) + longest);
}

TEST_P(AllottedTime, StepsThatAreSlowerThanForeseen_MakeTheRestOfThePlanSmaller) {
  const Trial trial = this->trial();
  double as_foreseen = trial.used, slow = trial.used, longest = 0;
  const auto planned = distil(trial, as_foreseen, longest, [] { return 1.0; });
  const auto made = distil(trial, slow, longest, [] { return 3.0; });
  EXPECT_LE(made.size(), planned.size());
  EXPECT_LE(slow, std::max(trial.budget, trial.used) * (1 + kRounding) + longest);
  double fast = trial.used;
  EXPECT_GE(distil(trial, fast, longest, [] { return 0.3; }).size(), planned.size());
}

TEST_P(AllottedTime, ALayerIsLeftOutOnlyWhereItDoesNotFitWithoutAStep) {
  const Trial trial = this->trial();
  double used = trial.used, longest = 0;
  const auto made = distil(trial, used, longest, [] { return 1.0; });
  if (made.size() == trial.layers.size()) return;
  const LayerCost& next = trial.layers[made.size()];
  EXPECT_GT(used + next.other, trial.budget);
}

TEST_P(AllottedTime, IsMeasuredOnSequencesOfEveryLength) {
  std::vector<std::int64_t> rows(1 + random_() % 60);
  for (std::int64_t& length : rows) length = static_cast<std::int64_t>(between(1, 3000));
  const double tokens = between(1, 50'000);
  const auto chosen = representatives(rows, tokens);
  ASSERT_FALSE(chosen.empty());
  EXPECT_TRUE(std::ranges::is_sorted(chosen));
  EXPECT_EQ(std::ranges::adjacent_find(chosen), chosen.end());
  std::int64_t taken = 0;
  for (const std::size_t i : chosen) taken += rows[i];
  EXPECT_TRUE(chosen.size() == 1 || static_cast<double>(taken) <= tokens) << taken;
  const std::int64_t all = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  EXPECT_TRUE(tokens < static_cast<double>(all) || chosen.size() == rows.size()) << chosen.size();
}

TEST(Representatives, AreNotTheShortOnesAlone) {
  std::vector<std::int64_t> rows(90, 300);
  rows.insert(rows.end(), 10, 2000);  // 27,000 and 20,000 tokens
  const auto chosen = representatives(rows, 10000);
  const auto is_long = [&](std::size_t i) { return rows[i] == 2000; };
  const auto long_ones = static_cast<double>(std::ranges::count_if(chosen, is_long));
  EXPECT_NEAR(long_ones / static_cast<double>(chosen.size()), 20.0 / 47.0, 0.1);
  EXPECT_GE(chosen.size(), 8u);
  EXPECT_THAT(representatives(rows, 100), ::testing::SizeIs(1));
  EXPECT_THAT(representatives(rows, 800), ::testing::SizeIs(2));
}

TEST_P(AllottedTime, TheBeginningLeavesTimeForALayer) {
  const Trial trial = this->trial();
  const auto layers = static_cast<int>(trial.layers.size());
  const FirstAllotment first =
      first_allotment(trial.budget, trial.used, trial.measures, layers, trial.held_out, limits_);
  EXPECT_GE(first.joint_steps, limits_.least_joint);
  EXPECT_LE(first.joint_steps, limits_.most_joint);
  EXPECT_GE(first.held_out, std::min(limits_.least_held_out, trial.held_out));
  EXPECT_LE(first.held_out, trial.held_out);
  const auto held_out = static_cast<double>(first.held_out);
  const double until_a_layer = trial.used +
                               static_cast<double>(first.joint_steps) * trial.measures.joint_step +
                               held_out * (trial.measures.order + trial.measures.measure);
  EXPECT_LE(until_a_layer, trial.budget * (1 + kRounding));
}

TEST_P(AllottedTime, ALongerBudgetIsNeverLess) {
  Trial trial = this->trial();
  const auto layers = static_cast<int>(trial.layers.size());
  const auto at = [&](double budget) {
    return first_allotment(budget, trial.used, trial.measures, layers, trial.held_out, limits_);
  };
  const FirstAllotment less = at(trial.budget), more = at(4 * trial.budget);
  EXPECT_LE(less.held_out, more.held_out);
  EXPECT_LE(chained_steps(trial.budget, trial.used, std::span(trial.layers).first(1), limits_),
            chained_steps(4 * trial.budget, trial.used, std::span(trial.layers).first(1), limits_));
}

INSTANTIATE_TEST_SUITE_P(Machines, AllottedTime, ::testing::Range(0, 50));

TEST(Allotment, NoTimeOrNoLayers_Nothing) {
  const std::vector<LayerCost> layers = {{1.0, 2.0}};
  EXPECT_EQ(std::nullopt, chained_steps(10, 10, layers, {}));
  EXPECT_EQ(std::nullopt, chained_steps(10, 30, layers, {}));
  EXPECT_EQ(std::nullopt, chained_steps(1000, 0, {}, {}));
}

TEST(Allotment, ManySecondsOrAClockThatShowsNone_MostSteps) {
  const AllotmentLimits limits;
  EXPECT_EQ(limits.most_chained, chained_steps(1e12, 0, std::vector<LayerCost>{{1.0, 2.0}}, limits));
  EXPECT_EQ(limits.most_chained, chained_steps(10, 0, std::vector<LayerCost>{{0.0, 0.0}}, limits));
  EXPECT_EQ(limits.most_joint, first_allotment(10, 0, {}, 3, 5, limits).joint_steps);
  EXPECT_EQ(5, first_allotment(10, 0, {}, 3, 5, limits).held_out);
}

TEST(Allotment, LayersShareWhatRemainsEvenly) {
  const std::vector<LayerCost> layers(10, {2.0, 4.0});
  EXPECT_EQ(18, chained_steps(400, 0, layers, {}));  // 10 layers of 40 s, 4 of which are no steps
  EXPECT_EQ(0, chained_steps(25, 0, layers, {}));    // of six layers; a few steps would gain nothing
}

TEST(Allotment, LayersThatGoWithoutStepsLeaveTheirShareToThoseBehind) {
  std::vector<LayerCost> layers(20, {1.0, 1.0});
  double used = 0;
  int without = 0;
  for (; !layers.empty(); layers.pop_back()) {
    const auto steps = chained_steps(120, used, layers, {});
    ASSERT_TRUE(steps);
    without += *steps == 0 ? 1 : 0;
    used += 1 + static_cast<double>(*steps);
  }
  EXPECT_GT(without, 0);
  EXPECT_LT(without, 20);
  EXPECT_NEAR(120, used, 13);
}

TEST(Allotment, FewStepsAreSmallOnes) {
  const AllotmentLimits limits;
  EXPECT_DOUBLE_EQ(0.1, rate_share(limits.full_rate_steps / 10, limits));
  EXPECT_EQ(1, rate_share(limits.full_rate_steps, limits));
  EXPECT_EQ(1, rate_share(limits.most_chained, limits));
}

TEST(PassCosts, ALowerLayerCostsMore) {
  const PassCosts costs{30, 8};
  EXPECT_GT(costs.chained(5, 5), costs.chained(20, 20));
  EXPECT_GT(costs.chained(5, 20), costs.chained(20, 20));  // behind a converted one
  EXPECT_GT(costs.held_out(5), costs.held_out(20));
}

}  // namespace
}  // namespace dslad::worker
