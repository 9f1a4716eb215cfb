#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/mlp/swiglu_backward.h"
#include "tests/kernels/finite_differences.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::central_differences;
using testing::close;
using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

struct SwiGluCase {
  std::int64_t rows, width;
};

class SwiGlu : public ::testing::TestWithParam<SwiGluCase> {
 protected:
  std::int64_t rows = GetParam().rows, width = GetParam().width;
  std::vector<float> gate_up = random_floats(rows * 2 * width, 1, 4.0f);
};

TEST_P(SwiGlu, EqualsReference) {
  std::vector<float> expected = poisoned(rows * width);
  swiglu_ref({gate_up.data(), 2 * width, expected.data(), width, rows, width});
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = poisoned(rows * width);
    swiglu_cpu(pool, {gate_up.data(), 2 * width, actual.data(), width, rows, width});
    EXPECT_TRUE(close(actual, expected, DType::kF32)) << threads << " threads";
  }
}

TEST_P(SwiGlu, InPlace_OverwritesTheGatesAndKeepsTheRest) {
  ThreadPool pool(2);
  std::vector<float> expected = poisoned(rows * width), actual = gate_up;
  swiglu_cpu(pool, {gate_up.data(), 2 * width, expected.data(), width, rows, width});
  swiglu_cpu(pool, {actual.data(), 2 * width, actual.data(), 2 * width, rows, width});
  const auto count = static_cast<std::size_t>(width);
  for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
    const float* gates = actual.data() + row * 2 * count;
    EXPECT_TRUE(same_bits({gates, count}, {expected.data() + row * count, count}));
    EXPECT_TRUE(same_bits({gates + count, count}, {gate_up.data() + row * 2 * count + count, count}));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SwiGlu,
                         ::testing::Values(SwiGluCase{1, 1}, SwiGluCase{1, 21}, SwiGluCase{5, 64},
                                           SwiGluCase{2, 5632}, SwiGluCase{40, 1536}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

class SwiGluBackward : public SwiGlu {
 protected:
  SwiGluBackwardArgs args(const std::vector<float>& input, std::vector<float>& d_gate_up) const {
    return {input.data(), 2 * width, dy.data(), width, d_gate_up.data(), 2 * width, rows, width};
  }
  std::vector<float> dy = random_floats(rows * width, 2);
};

TEST_P(SwiGluBackward, EqualsReferenceWithAnyNumberOfThreads) {
  std::vector<float> expected = poisoned(rows * 2 * width), alone = expected;
  swiglu_backward_ref(args(gate_up, expected));
  ThreadPool one(1);
  swiglu_backward_cpu(one, args(gate_up, alone));
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = poisoned(rows * 2 * width);
    swiglu_backward_cpu(pool, args(gate_up, actual));
    EXPECT_TRUE(same_bits(actual, alone)) << threads << " threads";
  }
}

TEST_P(SwiGluBackward, InPlace_EqualsOutOfPlace) {
  ThreadPool pool(2);
  std::vector<float> expected = poisoned(rows * 2 * width), actual = gate_up;
  swiglu_backward_cpu(pool, args(gate_up, expected));
  swiglu_backward_cpu(pool, args(actual, actual));
  EXPECT_TRUE(same_bits(actual, expected));
}

INSTANTIATE_TEST_SUITE_P(Shapes, SwiGluBackward,
                         ::testing::Values(SwiGluCase{1, 1}, SwiGluCase{1, 21}, SwiGluCase{5, 64},
                                           SwiGluCase{40, 1536}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

TEST(SwiGluBackwardReference, EqualsFiniteDifferences) {
  constexpr std::int64_t kWidth = 9;
  const std::vector<float> gate_up = random_floats(2 * kWidth, 1, 2.0f), dy = random_floats(kWidth, 2);
  std::vector<float> actual = poisoned(2 * kWidth);
  swiglu_backward_ref({gate_up.data(), 2 * kWidth, dy.data(), kWidth, actual.data(), 2 * kWidth, 1, kWidth});
  const auto loss = [&](const std::vector<double>& at) {
    double sum = 0;
    for (std::size_t i = 0; i < kWidth; ++i) sum += dy[i] * at[i] / (1 + std::exp(-at[i])) * at[kWidth + i];
    return sum;
  };
  EXPECT_TRUE(close(actual, central_differences(loss, gate_up), 1e-6));
}

TEST(SwiGluBackwardOfExtremeGates, IsTheSlopeOfTheGateOrNothing) {
  ThreadPool pool(1);
  constexpr std::int64_t kWidth = 19;
  for (const float gate : {-3e38f, -1e4f, -120.0f, 120.0f, 1e4f, 1e30f}) {
    std::vector<float> gate_up(2 * kWidth, 2.0f), dy(kWidth, 3.0f), actual = poisoned(2 * kWidth);
    std::fill_n(gate_up.begin(), kWidth, gate);
    swiglu_backward_cpu(
        pool, {gate_up.data(), 2 * kWidth, dy.data(), kWidth, actual.data(), 2 * kWidth, 1, kWidth});
    for (std::size_t i = 0; i < kWidth; ++i) {
      EXPECT_NEAR(actual[i], gate > 0 ? 6.0f : 0.0f, 1e-6f) << "gate " << gate;
      EXPECT_NEAR(actual[kWidth + i], gate > 0 ? 3 * gate : 0.0f, 1e-6f) << "gate " << gate;
    }
  }
}

TEST(SwiGluOfExtremeGates, IsTheGateOrNothing) {
  ThreadPool pool(1);
  constexpr std::int64_t kWidth = 19;  // both the vectors and the rest behind them
  for (const float gate : {-3e38f, -1e30f, -200.0f, -89.0f, 0.0f, 89.0f, 200.0f, 1e30f}) {
    std::vector<float> gate_up(2 * kWidth, 2.0f), y = poisoned(kWidth);
    std::fill_n(gate_up.begin(), kWidth, gate);
    swiglu_cpu(pool, {gate_up.data(), 2 * kWidth, y.data(), kWidth, 1, kWidth});
    for (const float value : y) EXPECT_NEAR(value, gate > 0 ? 2 * gate : 0.0f, 1e-7f) << "gate " << gate;
  }
}

}  // namespace
}  // namespace dslad::kernels
