#include "kernels/dsla/feature_map.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
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

struct HeadsShape {
  std::int64_t rows;
  int heads, d;
};

std::string name_of(FeatureMap map) {
  switch (map) {
    case FeatureMap::kNone:
      return "none";
    case FeatureMap::kSoftmax:
      return "softmax";
    case FeatureMap::kSoftmaxPair:
      return "softmax_pair";
  }
  return "";
}

class FeatureMaps : public ::testing::TestWithParam<std::tuple<FeatureMap, HeadsShape>> {
 protected:
  FeatureMap map = std::get<0>(GetParam());
  HeadsShape shape = std::get<1>(GetParam());
  bool widens = feature_width(map, shape.d) != shape.d;
  std::int64_t stride = shape.heads * shape.d + 5;                           // of x and dx
  std::int64_t wide_stride = shape.heads * feature_width(map, shape.d) + 5;  // of y and dy
  std::vector<float> x = random_floats(shape.rows * stride, 1, 2.0f);
  std::vector<float> dy = random_floats(shape.rows * wide_stride, 2);

  FeatureMapArgs forward(const std::vector<float>& input, std::vector<float>& y) const {
    return {map, input.data(), stride, y.data(), wide_stride, shape.rows, shape.heads, shape.d};
  }
  FeatureMapBackwardArgs backward(const std::vector<float>& input, const std::vector<float>& from,
                                  std::vector<float>& dx) const {
    return {map,       input.data(), stride,     from.data(), wide_stride,
            dx.data(), stride,       shape.rows, shape.heads, shape.d};
  }
  // What a result is written over: itself in place where the widths allow it, else the same other numbers.
  std::vector<float> target(const std::vector<float>& input, const std::vector<float>& other) const {
    return widens ? other : input;
  }
};

TEST_P(FeatureMaps, EqualReferenceWithAnyNumberOfThreads) {
  std::vector<float> expected = target(x, dy), alone = expected;
  feature_map_ref(forward(x, expected));
  ThreadPool one(1);
  feature_map_cpu(one, forward(x, alone));
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = target(x, dy);
    feature_map_cpu(pool, forward(widens ? x : actual, actual));
    EXPECT_TRUE(same_bits(actual, alone)) << "in place where it may, " << threads << " threads";
  }
}

TEST_P(FeatureMaps, GradientsEqualReferenceWithAnyNumberOfThreads) {
  std::vector<float> expected = target(dy, x), alone = expected;
  feature_map_backward_ref(backward(x, dy, expected));
  ThreadPool one(1);
  feature_map_backward_cpu(one, backward(x, dy, alone));
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = target(dy, x);
    feature_map_backward_cpu(pool, backward(x, widens ? dy : actual, actual));
    EXPECT_TRUE(same_bits(actual, alone)) << "in place where it may, " << threads << " threads";
  }
}

TEST_P(FeatureMaps, ExtremeElements_GiveFiniteResults) {
  for (float& value : x) value = std::copysign(1e4f, value);
  ThreadPool pool(2);
  std::vector<float> y = dy, dx = x;
  feature_map_cpu(pool, forward(x, y));
  feature_map_backward_cpu(pool, backward(x, dy, dx));
  const auto is_finite = [](float value) { return std::isfinite(value); };
  EXPECT_TRUE(std::ranges::all_of(y, is_finite));
  EXPECT_TRUE(std::ranges::all_of(dx, is_finite));
}

INSTANTIATE_TEST_SUITE_P(Shapes, FeatureMaps,
                         ::testing::Combine(::testing::Values(FeatureMap::kNone, FeatureMap::kSoftmax,
                                                              FeatureMap::kSoftmaxPair),
                                            ::testing::Values(HeadsShape{1, 1, 1}, HeadsShape{3, 2, 10},
                                                              HeadsShape{200, 3, 64}, HeadsShape{5, 2, 96})),
                         [](const auto& tested) {
                           const HeadsShape shape = std::get<1>(tested.param);
                           return name_of(std::get<0>(tested.param)) + "_rows" + std::to_string(shape.rows) +
                                  "_heads" + std::to_string(shape.heads) + "_d" + std::to_string(shape.d);
                         });

std::vector<double> mapped(FeatureMap map, std::vector<double> x) {
  if (map == FeatureMap::kNone) return x;
  double sum = 0, other_sum = 0;
  for (const double value : x) sum += std::exp(value), other_sum += std::exp(-value);
  if (map == FeatureMap::kSoftmaxPair) {
    std::vector<double> y;
    y.reserve(2 * x.size());
    for (const double value : x) y.push_back(std::exp(value) / sum);
    for (const double value : x) y.push_back(std::exp(-value) / other_sum);
    return y;
  }
  for (double& value : x) value = std::exp(value) / sum;
  return x;
}

TEST(FeatureMapReference, EqualsFormulaAndFiniteDifferences) {
  constexpr int kDim = 9;
  const std::vector<float> x = random_floats(kDim, 1), dy = random_floats(2 * kDim, 2);
  for (const FeatureMap map : {FeatureMap::kNone, FeatureMap::kSoftmax, FeatureMap::kSoftmaxPair}) {
    const int width = feature_width(map, kDim);
    std::vector<float> y = poisoned(width), dx = poisoned(kDim);
    feature_map_ref({map, x.data(), kDim, y.data(), width, 1, 1, kDim});
    feature_map_backward_ref({map, x.data(), kDim, dy.data(), width, dx.data(), kDim, 1, 1, kDim});
    const std::vector<double> expected = mapped(map, {x.begin(), x.end()});
    EXPECT_TRUE(close(y, std::vector<float>(expected.begin(), expected.end()), 1e-6)) << name_of(map);
    const auto loss = [&](const std::vector<double>& at) {
      const std::vector<double> values = mapped(map, at);
      return std::inner_product(values.begin(), values.end(), dy.begin(), 0.0);
    };
    EXPECT_TRUE(close(dx, central_differences(loss, x), 1e-6)) << name_of(map);
  }
}

}  // namespace
}  // namespace dslad::kernels
