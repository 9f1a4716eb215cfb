#include "kernels/bias/bias.h"

#include <gtest/gtest.h>
#include <vector>

#include "kernels/bias/bias_backward.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;
using testing::same_bits;

struct BiasCase {
  std::int64_t rows, width, gap;  // gap: floats between a row's end and the next row
};

class Bias : public ::testing::TestWithParam<BiasCase> {};

// One addition an element: no order of sums to differ in.
TEST_P(Bias, EqualsReferenceBitForBitAndLeavesWhatLiesBetweenRows) {
  const auto [rows, width, gap] = GetParam();
  const std::vector<float> bias = random_floats(width, 1), y = random_floats(rows * (width + gap), 2);
  std::vector<float> expected = y;
  bias_ref({expected.data(), width + gap, bias.data(), rows, width});
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t column = i % static_cast<std::size_t>(width + gap);
    const float added = column < static_cast<std::size_t>(width) ? bias[column] : 0.0f;
    ASSERT_FLOAT_EQ(expected[i], y[i] + added);
  }
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = y;
    bias_cpu(pool, {actual.data(), width + gap, bias.data(), rows, width});
    EXPECT_TRUE(same_bits(actual, expected)) << threads << " threads";
  }
}

TEST_P(Bias, GradientEqualsReferenceWithAnyNumberOfThreads) {
  const auto [rows, width, gap] = GetParam();
  const std::vector<float> dy = random_floats(rows * (width + gap), 3), start = random_floats(width, 4);
  std::vector<float> expected = start, alone = start;
  bias_backward_ref({dy.data(), width + gap, expected.data(), rows, width});
  ThreadPool one(1);
  bias_backward_cpu(one, {dy.data(), width + gap, alone.data(), rows, width});
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = start;
    bias_backward_cpu(pool, {dy.data(), width + gap, actual.data(), rows, width});
    EXPECT_TRUE(same_bits(actual, alone)) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Bias,
                         ::testing::Values(BiasCase{1, 1, 0}, BiasCase{3, 13, 2}, BiasCase{1, 576, 0},
                                           BiasCase{70, 576, 5}, BiasCase{129, 1000, 0}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

}  // namespace
}  // namespace dslad::kernels
