#include "kernels/loss/token_loss.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/finite_differences.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::central_differences;
using testing::close;
using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

struct TokenLossCase {
  std::int64_t rows, vocab;
};

struct TokenLossOutcome {
  std::vector<float> d_logits, cross_entropy, kl;
};

// Every third row has no label. Rows are three floats apart.
struct TokenLossProblem {
  TokenLossProblem(TokenLossCase shape, std::uint64_t seed, float scale = 3.0f)
      : size(shape),
        stride(shape.vocab + 3),
        logits(random_floats(shape.rows * stride, seed, scale)),
        teacher(random_floats(shape.rows * stride, seed + 1, scale)),
        ce_scale(random_floats(shape.rows, seed + 2)),
        kl_scale(random_floats(shape.rows, seed + 3)) {
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      labels.push_back(row % 3 == 2 ? kNoLabel : static_cast<std::int32_t>(row * 97 % shape.vocab));
    }
  }

  template <typename Run>
  TokenLossOutcome run(const Run& token_loss, bool with_teacher) const {
    TokenLossOutcome result = {logits, poisoned(size.rows), poisoned(size.rows)};
    token_loss(TokenLossArgs{result.d_logits.data(), with_teacher ? teacher.data() : nullptr, stride,
                             size.rows, size.vocab, labels.data(), ce_scale.data(),
                             with_teacher ? kl_scale.data() : nullptr, result.cross_entropy.data(),
                             result.kl.data()});
    return result;
  }
  TokenLossOutcome reference(bool with_teacher) const { return run(token_loss_ref, with_teacher); }
  TokenLossOutcome cpu(int threads, bool with_teacher) const {
    ThreadPool pool(threads);
    return run([&](const TokenLossArgs& args) { token_loss_cpu(pool, args); }, with_teacher);
  }

  TokenLossCase size;
  std::int64_t stride;
  std::vector<float> logits, teacher;
  std::vector<std::int32_t> labels;
  std::vector<float> ce_scale, kl_scale;
};

class TokenLoss : public ::testing::TestWithParam<TokenLossCase> {};

TEST_P(TokenLoss, EqualsReferenceWithAnyNumberOfThreads) {
  for (const std::uint64_t seed : {1, 20}) {
    const TokenLossProblem problem(GetParam(), seed);
    for (const bool with_teacher : {false, true}) {
      const TokenLossOutcome expected = problem.reference(with_teacher), alone = problem.cpu(1, with_teacher);
      // The floats between rows are part of d_logits and must stay as they were.
      EXPECT_TRUE(close(alone.d_logits, expected.d_logits, DType::kF32));
      EXPECT_TRUE(close(alone.cross_entropy, expected.cross_entropy, DType::kF32));
      EXPECT_TRUE(close(alone.kl, expected.kl, DType::kF32));
      for (const int threads : {2, 3}) {
        const TokenLossOutcome actual = problem.cpu(threads, with_teacher);
        EXPECT_TRUE(same_bits(actual.d_logits, alone.d_logits)) << threads << " threads";
        EXPECT_TRUE(same_bits(actual.cross_entropy, alone.cross_entropy)) << threads << " threads";
        EXPECT_TRUE(same_bits(actual.kl, alone.kl)) << threads << " threads";
      }
    }
  }
}

TEST_P(TokenLoss, LogitsOfAnySize_GiveFiniteResults) {
  for (const float size : {1e4f, 3e38f}) {
    TokenLossProblem problem(GetParam(), 5);
    for (std::size_t i = 0; i < problem.logits.size(); ++i) {
      problem.logits[i] = std::copysign(size, problem.logits[i]);
      problem.teacher[i] = std::copysign(size, problem.teacher[i]);
    }
    const auto is_finite = [](float value) { return std::isfinite(value); };
    const TokenLossOutcome actual = problem.cpu(1, true);
    EXPECT_TRUE(std::ranges::all_of(actual.d_logits, is_finite)) << size;
    EXPECT_TRUE(std::ranges::all_of(actual.cross_entropy, is_finite)) << size;
    EXPECT_TRUE(std::ranges::all_of(actual.kl, is_finite)) << size;
    if (size < 1e30f) {
      const TokenLossOutcome expected = problem.reference(true);
      EXPECT_TRUE(close(actual.cross_entropy, expected.cross_entropy, DType::kF32));
      EXPECT_TRUE(close(actual.kl, expected.kl, DType::kF32));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TokenLoss,
                         ::testing::Values(TokenLossCase{1, 1}, TokenLossCase{4, 2}, TokenLossCase{5, 37},
                                           TokenLossCase{30, 1024}, TokenLossCase{3, 2500},
                                           TokenLossCase{2, 49152}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_vocab" +
                                  std::to_string(tested.param.vocab);
                         });

TEST(TokenLossOfNotANumber, IsNotANumberInItsRowAlone) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const bool in_teacher : {false, true}) {
    TokenLossProblem problem({2, 70}, 1);
    (in_teacher ? problem.teacher : problem.logits)[33] = kNaN;
    const TokenLossOutcome actual = problem.cpu(1, true), expected = problem.reference(true);
    EXPECT_EQ(std::isnan(actual.cross_entropy[0]), !in_teacher);
    EXPECT_EQ(std::isnan(expected.cross_entropy[0]), !in_teacher);
    EXPECT_TRUE(std::isnan(actual.kl[0]) && std::isnan(expected.kl[0]));
    EXPECT_TRUE(std::isnan(actual.d_logits[5]) && std::isnan(expected.d_logits[5]));
    EXPECT_TRUE(std::isfinite(actual.cross_entropy[1]) && std::isfinite(actual.kl[1]));
  }
}

TEST(TokenLossOfNearbyTeacher, KeepsItsDigits) {
  constexpr std::int64_t kVocab = 20000;
  TokenLossProblem problem({1, kVocab}, 1);
  for (std::size_t i = 0; i < problem.logits.size(); ++i) {
    problem.teacher[i] = problem.logits[i] + (i % 2 == 0 ? 0.02f : -0.02f);
  }
  const float expected = problem.reference(true).kl[0];  // about 2e-4
  EXPECT_NEAR(problem.cpu(1, true).kl[0], expected, 1e-3f * expected);
}

TEST(TokenLossReference, EqualsFiniteDifferences) {
  constexpr std::int64_t kVocab = 6;
  const std::vector<float> logits = random_floats(kVocab, 1, 2.0f), teacher = random_floats(kVocab, 2, 2.0f);
  const std::int32_t label = 4;
  const float ce_scale = 0.7f, kl_scale = 1.3f;
  const auto log_sum = [](const auto& values) {
    return std::log(std::transform_reduce(values.begin(), values.end(), 0.0, std::plus<>(),
                                          [](double value) { return std::exp(value); }));
  };
  const auto loss = [&](const std::vector<double>& at) {
    const double norm = log_sum(at), teacher_norm = log_sum(teacher);
    double kl = 0;
    for (std::size_t v = 0; v < kVocab; ++v) {
      kl += std::exp(teacher[v] - teacher_norm) * ((teacher[v] - teacher_norm) - (at[v] - norm));
    }
    return ce_scale * (norm - at[label]) + kl_scale * kl;
  };
  std::vector<float> actual = logits;
  float cross_entropy = 0, kl = 0;
  token_loss_ref(
      {actual.data(), teacher.data(), kVocab, 1, kVocab, &label, &ce_scale, &kl_scale, &cross_entropy, &kl});
  EXPECT_TRUE(close(actual, central_differences(loss, logits), 1e-6));
  EXPECT_NEAR(ce_scale * cross_entropy + kl_scale * kl, loss({logits.begin(), logits.end()}), 1e-6);
}

}  // namespace
}  // namespace dslad::kernels
