// The optimizer where the golden curves do not look: clipping, decay, restoring, bad gradients.
#include "worker/distill/adamw.h"

#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace dslad::worker {
namespace {

std::array<ParameterGroup, 1> all_of(std::size_t size) {
  return {{{size}}};
}

TEST(AdamWTest, AGroupHasItsOwnRate) {
  AdamWOptions options;
  options.decay = 0.5;
  AdamW optimizer(options, 2), alone(options, 1);
  std::vector<float> values = {2.0f, 2.0f}, slow = {2.0f};
  const std::vector<float> gradients = {0.5f, 0.5f};
  optimizer.step(values, gradients, std::array{ParameterGroup{1, 0.25}, ParameterGroup{1}}, 0.1);
  alone.step(slow, std::span(gradients).first(1), all_of(1), 0.025);
  EXPECT_FLOAT_EQ(values[0], slow[0]);
  EXPECT_LT(values[1], values[0]);
}

TEST(AdamWTest, DecaysMatricesAlone) {
  AdamWOptions options;
  options.decay = 0.5;
  AdamW optimizer(options, 2);
  std::vector<float> values = {2.0f, 2.0f};
  const std::vector<float> gradients = {0.0f, 0.0f};
  optimizer.step(values, gradients, std::array{ParameterGroup{1}, ParameterGroup{1, 1.0, false}}, 0.1);
  EXPECT_FLOAT_EQ(values[0], 2.0f - 0.1f * 0.5f * 2.0f);
  EXPECT_FLOAT_EQ(values[1], 2.0f);
}

TEST(AdamWTest, ClippingLeavesTheDirectionAndReportsTheNormBefore) {
  AdamWOptions options;
  options.clip = 1.0;
  options.decay = 0.0;
  AdamW clipped(options, 2), scaled(options, 2);
  std::vector<float> a = {0.0f, 0.0f}, b = {0.0f, 0.0f};
  const std::vector<float> large = {30.0f, 40.0f}, unit = {0.6f, 0.8f};
  EXPECT_DOUBLE_EQ(clipped.step(a, large, all_of(2), 0.1), 50.0);
  scaled.step(b, unit, all_of(2), 0.1);
  EXPECT_NEAR(a[0], b[0], 1e-6);
  EXPECT_NEAR(a[1], b[1], 1e-6);
}

TEST(AdamWTest, AGradientThatIsNotFiniteChangesNothing) {
  AdamW optimizer({}, 2);
  std::vector<float> values = {1.0f, 2.0f};
  const std::vector<float> bad = {0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_FALSE(std::isfinite(optimizer.step(values, bad, all_of(2), 0.1)));
  EXPECT_EQ(values, (std::vector<float>{1.0f, 2.0f}));
  EXPECT_EQ(optimizer.steps(), 0);
}

TEST(AdamWTest, GoesOnFromRestoredMomentsBitForBit) {
  AdamW whole({}, 3), resumed({}, 3);
  std::vector<float> a = {1, 2, 3}, b;
  const auto gradient = [](int step) {
    return std::vector<float>{std::sin(step * 1.0f), std::cos(step * 2.0f), 0.1f};
  };
  for (int step = 0; step < 5; ++step) whole.step(a, gradient(step), all_of(3), 0.01);
  b = a;
  const std::vector<float> first(whole.first_moment().begin(), whole.first_moment().end());
  const std::vector<float> second(whole.second_moment().begin(), whole.second_moment().end());
  resumed.restore(whole.steps(), first, second);
  for (int step = 5; step < 10; ++step) {
    whole.step(a, gradient(step), all_of(3), 0.01);
    resumed.step(b, gradient(step), all_of(3), 0.01);
  }
  EXPECT_EQ(a, b);
}

TEST(CosineScheduleTest, RisesThenFallsToItsLowest) {
  const CosineSchedule schedule{1.0, 0.1, 10, 110};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.1);
  EXPECT_DOUBLE_EQ(schedule.at(9), 1.0);
  EXPECT_DOUBLE_EQ(schedule.at(10), 1.0);
  EXPECT_NEAR(schedule.at(60), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(110), 0.1, 1e-12);
  EXPECT_NEAR(schedule.at(1000), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ((CosineSchedule{1.0, 0.1, 0, 0}).at(0), 1.0);
}

}  // namespace
}  // namespace dslad::worker
