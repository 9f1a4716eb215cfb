// How the tests run an operation: in both orders of threads and blocks, which must agree bit for bit.
#pragma once

#include <algorithm>
#include <gtest/gtest.h>
#include <typeindex>
#include <vector>

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

// A queue that runs nothing: which kernels an operation is made of.
class Launched {
 public:
  template <class Kernel>
  void launch(const typename Kernel::Args&) {
    kernels_.emplace_back(typeid(Kernel));
  }
  template <class Kernel>
  [[nodiscard]] std::int64_t count() const {
    return std::ranges::count(kernels_, std::type_index(typeid(Kernel)));
  }
  [[nodiscard]] std::int64_t all() const { return std::ssize(kernels_); }

 private:
  std::vector<std::type_index> kernels_;
};

}  // namespace dslad::kernels::cuda::testing
