#include "kernels/sample/sample.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <vector>

#include "kernels/sample/draw.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::random_floats;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Sample : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(Sample, Greedy_EqualsReference) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> logits = random_floats(GetParam(), seed);
    EXPECT_EQ(sample_cpu({.logits = logits}), sample_ref({.logits = logits}));
  }
}

TEST_P(Sample, Draws_EqualReference) {
  const std::vector<float> logits = random_floats(GetParam(), 1, 3.0f);
  for (const float top_p : {1.0f, 0.95f, 0.5f, 1e-6f}) {
    for (const float temperature : {0.05f, 0.7f, 1.5f}) {
      for (std::uint64_t position = 0; position < 30; ++position) {
        const SampleArgs args = {logits, temperature, top_p, 7, position};
        EXPECT_EQ(sample_cpu(args), sample_ref(args)) << "top_p " << top_p << ", temperature " << temperature;
      }
    }
  }
}

TEST_P(Sample, LogProbability_EqualsReference_AndAddsUpToOne) {
  for (const float scale : {0.1f, 3.0f, 60.0f}) {
    const std::vector<float> logits = random_floats(GetParam(), 2, scale);
    double total = 0;
    for (std::int32_t token = 0; token < std::ssize(logits); ++token) {
      if (token % 97 == 0) {
        EXPECT_NEAR(log_probability_cpu(logits, token), log_probability_ref(logits, token), 1e-4);
      }
      if (logits.size() <= 1000) total += std::exp(log_probability_cpu(logits, token));
    }
    if (logits.size() <= 1000) {
      EXPECT_NEAR(total, 1.0, 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Sample, ::testing::Values(1, 2, 15, 16, 17, 1000, 32003));

using Sampler = std::int32_t (*)(const SampleArgs&);
class BothSamplers : public ::testing::TestWithParam<Sampler> {};

TEST_P(BothSamplers, Greedy_TakesTheLowestIdOnTies) {
  std::vector<float> logits(100, 1.0f);
  logits[37] = logits[38] = logits[90] = 2.0f;
  EXPECT_EQ(GetParam()({.logits = logits}), 37);
}

TEST_P(BothSamplers, ARowWithANumberThatIsNotFinite_GivesNoToken) {
  for (const float odd : {kNan, -kNan, kInfinity, -kInfinity}) {
    for (std::size_t size : {1u, 5u, 40u, 67u}) {
      for (std::size_t place = 0; place < size; ++place) {
        std::vector<float> logits = random_floats(static_cast<std::int64_t>(size), place);
        logits[place] = odd;
        EXPECT_EQ(GetParam()({.logits = logits}), kNoToken) << odd << " at " << place << " of " << size;
        EXPECT_EQ(GetParam()({.logits = logits, .temperature = 1.0f}), kNoToken);
        EXPECT_EQ(GetParam()({.logits = logits, .temperature = 1.0f, .top_p = 0.5f}), kNoToken);
      }
    }
  }
}

TEST_P(BothSamplers, LogitsOfAnySizeThatAreFinite_GiveTheLargest) {
  constexpr float kHuge = std::numeric_limits<float>::max();
  std::vector<float> logits(40, -kHuge);
  EXPECT_EQ(GetParam()({.logits = logits}), 0);
  logits[33] = kHuge;
  EXPECT_EQ(GetParam()({.logits = logits}), 33);
  EXPECT_EQ(GetParam()({.logits = logits, .temperature = 1e-30f}), 33);
  EXPECT_EQ(GetParam()({.logits = logits, .temperature = 1.0f, .top_p = 0.5f}), 33);
}

TEST_P(BothSamplers, SameSeedAndPosition_DrawTheSame) {
  const std::vector<float> logits(64, 0.0f);
  std::map<std::int32_t, int> seen;
  for (std::uint64_t position = 0; position < 20; ++position) {
    const SampleArgs args = {logits, 1.0f, 1.0f, 5, position};
    EXPECT_EQ(GetParam()(args), GetParam()(args));
    ++seen[GetParam()(args)];
  }
  EXPECT_GT(seen.size(), 10u) << "positions must not all draw the same token";
}

TEST_P(BothSamplers, Frequencies_FollowTheProbabilities) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.6f), std::log(0.3f)};
  std::map<std::int32_t, int> seen;
  for (std::uint64_t seed = 0; seed < 10000; ++seed) ++seen[GetParam()({logits, 1.0f, 1.0f, seed, 3})];
  EXPECT_NEAR(seen[0], 1000, 150);
  EXPECT_NEAR(seen[1], 6000, 250);
  EXPECT_NEAR(seen[2], 3000, 230);
}

TEST_P(BothSamplers, TopP_KeepsTheSmallestSetThatReachesIt) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.5f), std::log(0.25f), std::log(0.15f)};
  const auto drawn = [&](float top_p) {
    std::map<std::int32_t, int> seen;
    for (std::uint64_t seed = 0; seed < 500; ++seed) ++seen[GetParam()({logits, 1.0f, top_p, seed, 0})];
    std::vector<std::int32_t> ids;
    ids.reserve(seen.size());
    for (const auto& [id, count] : seen) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(drawn(0.4f), (std::vector<std::int32_t>{1}));
  EXPECT_EQ(drawn(0.7f), (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(drawn(0.85f), (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(drawn(1.0f), (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST_P(BothSamplers, TopP_PrefersTheLowerIdAmongEqualTokens) {
  const std::vector<float> logits(8, 1.0f);
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    EXPECT_LT(GetParam()({logits, 1.0f, 0.5f, seed, 0}), 4);
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, BothSamplers, ::testing::Values(&sample_ref, &sample_cpu),
                         [](const auto& tested) { return tested.index == 0 ? "ref" : "cpu"; });

TEST(UniformDraw, LiesInTheUnitIntervalAndSpreads) {
  double sum = 0;
  for (std::uint64_t position = 0; position < 10000; ++position) {
    const double draw = uniform_draw(1, position);
    ASSERT_GE(draw, 0.0);
    ASSERT_LT(draw, 1.0);
    sum += draw;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

}  // namespace
}  // namespace dslad::kernels
