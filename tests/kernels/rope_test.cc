#include "kernels/rope/rope.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;

RopeTable table_of(int head_dim, std::int64_t positions) {
  std::vector<double> frequencies;
  frequencies.reserve(static_cast<std::size_t>(head_dim) / 2);
  for (int j = 0; j < head_dim / 2; ++j) frequencies.push_back(std::pow(10000.0, -2.0 * j / head_dim));
  return {frequencies, positions};
}

TEST(RopeTable, HoldsCosinesOfPositionTimesFrequency) {
  const std::vector<double> frequencies = {1.0, 0.25};
  const RopeTable table(frequencies, 5);
  EXPECT_EQ(table.half(), 2);
  EXPECT_FLOAT_EQ(table.cos(4)[1], static_cast<float>(std::cos(1.0)));
  EXPECT_FLOAT_EQ(table.sin(3)[0], static_cast<float>(std::sin(3.0)));
}

TEST(RopeTable, ScalesCosinesAndSines) {
  const std::vector<double> frequencies = {1.0, 0.25};
  const RopeTable table(frequencies, 5, 1.25);
  EXPECT_FLOAT_EQ(table.cos(4)[1], static_cast<float>(1.25 * std::cos(1.0)));
  EXPECT_FLOAT_EQ(table.sin(3)[0], static_cast<float>(1.25 * std::sin(3.0)));
}

struct RopeCase {
  std::int64_t rows;
  int heads, head_dim;
};

class Rope : public ::testing::TestWithParam<RopeCase> {};

TEST_P(Rope, EqualsReferenceAndLeavesTheRestOfARow) {
  const auto [rows, heads, head_dim] = GetParam();
  const RopeTable table = table_of(head_dim, 5000);
  const std::int64_t stride = heads * head_dim + 9;
  std::vector<std::int32_t> positions;
  for (std::int64_t row = 0; row < rows; ++row)
    positions.push_back(static_cast<std::int32_t>(row * 977 % 5000));
  const std::vector<float> x = random_floats(rows * stride, 1);
  std::vector<float> expected = x;
  rope_ref({expected.data(), stride, positions.data(), rows, heads, &table});
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = x;
    rope_cpu(pool, {actual.data(), stride, positions.data(), rows, heads, &table});
    EXPECT_TRUE(close(actual, expected, DType::kF32)) << threads << " threads";
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto rest = static_cast<std::size_t>(row * stride + heads * head_dim);
      EXPECT_TRUE(testing::same_bits({actual.data() + rest, 9}, {x.data() + rest, 9}));
    }
  }
}

TEST_P(Rope, Inverse_EqualsReferenceAndTurnsBack) {
  const auto [rows, heads, head_dim] = GetParam();
  const RopeTable table = table_of(head_dim, 5000);
  const std::int64_t stride = heads * head_dim + 9;
  std::vector<std::int32_t> positions;
  for (std::int64_t row = 0; row < rows; ++row)
    positions.push_back(static_cast<std::int32_t>(row * 977 % 5000));
  const std::vector<float> x = random_floats(rows * stride, 1);
  std::vector<float> expected = x;
  rope_ref({expected.data(), stride, positions.data(), rows, heads, &table, true});
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = x;
    rope_cpu(pool, {actual.data(), stride, positions.data(), rows, heads, &table, true});
    EXPECT_TRUE(close(actual, expected, DType::kF32)) << threads << " threads";
    rope_cpu(pool, {actual.data(), stride, positions.data(), rows, heads, &table, false});
    EXPECT_TRUE(close(actual, x, DType::kF32)) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Rope,
                         ::testing::Values(RopeCase{1, 1, 8}, RopeCase{3, 2, 10}, RopeCase{1, 9, 64},
                                           RopeCase{130, 3, 64}, RopeCase{17, 4, 96}, RopeCase{5, 2, 256}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_heads" +
                                  std::to_string(tested.param.heads) + "_dim" +
                                  std::to_string(tested.param.head_dim);
                         });

// The rotation is linear: its gradient is its transpose, which turns back.
TEST(RopeInverse, IsTheGradient_ScaleIncluded) {
  constexpr int kDim = 10;
  const RopeTable table(std::vector<double>{1.0, 0.3, 0.1, 0.02, 0.004}, 50, 1.5);
  const std::int32_t position = 37;
  std::vector<float> x = random_floats(kDim, 1), dy = random_floats(kDim, 2), dx = dy, y = x;
  rope_ref({dx.data(), kDim, &position, 1, 1, &table, true});
  rope_ref({y.data(), kDim, &position, 1, 1, &table});
  double forward = 0, backward = 0;
  for (std::size_t i = 0; i < kDim; ++i) {
    forward += double{dy[i]} * y[i];
    backward += double{dx[i]} * x[i];
  }
  EXPECT_NEAR(forward, backward, 1e-5);
}

TEST(RopeScores, DependOnTheDistanceOfPositionsAlone) {
  constexpr int kDim = 32;
  const RopeTable table = table_of(kDim, 2000);
  ThreadPool pool(1);
  const auto score = [&](std::int32_t query_position, std::int32_t key_position) {
    std::vector<float> rows = random_floats(2 * kDim, 3);
    const std::vector<std::int32_t> positions = {query_position, key_position};
    rope_cpu(pool, {rows.data(), kDim, positions.data(), 2, 1, &table});
    double dot = 0;
    for (int i = 0; i < kDim; ++i) dot += double{rows[i]} * rows[kDim + i];
    return dot;
  };
  EXPECT_NEAR(score(40, 10), score(1530, 1500), 1e-3);
  EXPECT_GT(std::abs(score(40, 10) - score(41, 10)), 1e-3);
}

}  // namespace
}  // namespace dslad::kernels
