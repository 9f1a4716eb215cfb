// How the tests run an operation: in both orders of threads and blocks, which must agree bit for bit.
#pragma once

#include <gtest/gtest.h>

#include "tests/kernels/cuda_on_host/executor.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::cuda::testing {

// Against a reference in double, by the type that products are made of.
inline constexpr double kFloatTolerance = 1e-4, kBf16Tolerance = 1e-2;

// What run(executor) returns, a vector of floats.
template <class Run>
std::vector<float> in_any_order(const Run& run) {
  Executor ascending(Order::kAscending), descending(Order::kDescending);
  std::vector<float> result = run(ascending);
  EXPECT_TRUE(kernels::testing::same_bits(run(descending), result)) << "in the other order of threads";
  return result;
}

}  // namespace dslad::kernels::cuda::testing
