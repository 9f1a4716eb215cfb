#include "kernels/rope/rope.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

TEST(RopeTable, HoldsCosinesOfPositionTimesFrequency) {
  const std::vector<double> frequencies = {1.0, 0.25};
  const RopeTable table(frequencies, 5);
  EXPECT_EQ(table.half(), 2);
  EXPECT_FLOAT_EQ(table.cos(4)[1], static_cast<float>(std::cos(1.0)));
  EXPECT_FLOAT_EQ(table.sin(3)[0], static_cast<float>(std::sin(3.0)));
}

}  // namespace
}  // namespace dslad::kernels
