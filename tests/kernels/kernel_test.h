// What every kernel test shares: seeded data, poisoned outputs, and the one tolerance table.
//
// Errors are measured against the largest magnitude of the expected values, so that a cancelled element
// is judged by the sums it came from. Outputs start as NaN: an element that a kernel forgot cannot pass.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include "kernels/tensor.h"

namespace dslad::kernels::testing {

// Largest error / largest expected magnitude, by the type that the operands are stored in.
constexpr double tolerance(DType dtype) {
  return dtype == DType::kF32 ? 1e-5 : 4e-3;
}
inline constexpr double kTolerance = tolerance(DType::kF32);

// `count` normal values of standard deviation `scale`; the same for the same seed.
inline std::vector<float> random_floats(std::int64_t count, std::uint64_t seed, float scale = 1.0f) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::ranges::generate(values, [&] { return normal(generator); });
  return values;
}

inline std::vector<bf16> to_bf16(std::span<const float> values) {
  std::vector<bf16> result;
  result.reserve(values.size());
  for (const float value : values) result.push_back(kernels::to_bf16(value));
  return result;
}

inline std::vector<float> poisoned(std::int64_t count) {
  return std::vector<float>(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

inline ::testing::AssertionResult close(std::span<const float> actual, std::span<const float> expected,
                                        double relative) {
  if (actual.size() != expected.size()) return ::testing::AssertionFailure() << "sizes differ";
  double magnitude = 0;
  for (const float value : expected) magnitude = std::max(magnitude, std::abs(double{value}));
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(double{actual[i]} - double{expected[i]});
    if (error <= relative * magnitude) continue;  // false for NaN
    return ::testing::AssertionFailure() << "element " << i << ": " << actual[i] << " instead of "
                                         << expected[i] << "; largest expected magnitude " << magnitude;
  }
  return ::testing::AssertionSuccess();
}

inline ::testing::AssertionResult close(std::span<const float> actual, std::span<const float> expected,
                                        DType dtype) {
  return close(actual, expected, tolerance(dtype));
}

// Bit for bit: poison that nobody touched equals itself too.
inline ::testing::AssertionResult same_bits(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(actual[i]) == std::bit_cast<std::uint32_t>(expected[i])) continue;
    return ::testing::AssertionFailure()
           << "element " << i << ": " << actual[i] << " instead of " << expected[i];
  }
  return ::testing::AssertionSuccess();
}

}  // namespace dslad::kernels::testing
