#include "kernels/sample/cuda/sample.cuh"

#include <algorithm>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "tests/kernels/cuda_on_host/on_host.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::random_floats;
using testing::Executor;
using testing::Order;

std::vector<std::int32_t> sample(const std::vector<SampleArgs>& rows, Order order = Order::kAscending) {
  std::vector<std::int32_t> tokens(rows.size(), -7);
  Executor(order).launch<SampleRow>({rows.data(), static_cast<std::int64_t>(rows.size()), tokens.data()});
  return tokens;
}

void expect_like_reference(const std::vector<SampleArgs>& rows) {
  std::vector<std::int32_t> expected(rows.size());
  std::ranges::transform(rows, expected.begin(), sample_ref);
  EXPECT_EQ(sample(rows), expected);
  EXPECT_EQ(sample(rows, Order::kDescending), expected);
}

TEST(CudaSample, GreedyIsTheLargest_TheLowestIdOnTies) {
  std::vector<std::vector<float>> logits = {
      {3}, {-0.0f, 0.0f}, {0.0f, -0.0f}, {-5, -1, -1, -9}, random_floats(2000, 1)};
  logits.push_back(random_floats(1025, 2));
  logits.back().back() = 99;
  std::vector<SampleArgs> rows(logits.size());
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].logits = logits[i];
  expect_like_reference(rows);
}

TEST(CudaSample, StrangeRowsHaveNoToken) {
  for (const float strange : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
    std::vector<float> logits = random_floats(700, 3);
    logits[600] = strange;
    expect_like_reference({{logits}, {logits, 1.0f}, {logits, 1.0f, 0.5f}});
  }
}

TEST(CudaSample, DrawsAreTheReferences) {
  for (const std::int64_t size : {1, 513, 1500, 5000}) {
    const std::vector<float> logits = random_floats(size, static_cast<std::uint64_t>(size), 2.0f);
    std::vector<SampleArgs> rows;
    for (std::uint64_t i = 0; i < 5; ++i) {
      for (const float top_p : {1.0f, 0.9f, 0.3f, 1e-6f})
        rows.push_back({logits, 0.7f + 0.2f * static_cast<float>(i), top_p, 42, i});
    }
    expect_like_reference(rows);
  }
}

// Equal logits at the border of the set: those of lower ids belong to it.
TEST(CudaSample, TiesAtTheBorder_GoById) {
  std::vector<float> logits(600, 1.0f);
  for (std::size_t i = 100; i < 110; ++i) logits[i] = 2.0f;
  std::vector<SampleArgs> rows;
  for (std::uint64_t i = 0; i < 20; ++i) rows.push_back({logits, 1.0f, 0.1f, 7, i});
  for (std::uint64_t i = 0; i < 20; ++i) rows.push_back({logits, 1.0f, 0.02f, 7, i});
  expect_like_reference(rows);
}

TEST(CudaSample, ExtremeLogitsAndTemperatures) {
  std::vector<float> logits = random_floats(100, 5, 1e30f);
  expect_like_reference({{logits, 1.0f}, {logits, 1.0f, 0.5f}, {logits, 1e-3f, 0.9f}});
}

TEST(CudaLogProbability, EqualsReference) {
  constexpr std::int64_t kVocabulary = 1500, kStride = kVocabulary + 3, kRows = 3;
  const std::vector<float> logits = random_floats(kRows * kStride, 6, 4.0f);
  const std::vector<std::int32_t> tokens = {0, 700, 1499};
  std::vector<ChosenToken> rows;
  for (std::size_t row = 0; row < 3; ++row)
    rows.push_back({{&logits[row * kStride], kVocabulary}, tokens[row]});
  std::vector<double> actual(3);
  Executor().launch<LogProbability>({rows.data(), kRows, actual.data()});
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_NEAR(actual[row], log_probability_ref(rows[row].logits, tokens[row]), 1e-5);
  }
}

}  // namespace
}  // namespace dslad::kernels::cuda
