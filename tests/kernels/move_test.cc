#include "kernels/move/move.h"

#include <array>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::random_floats;

TEST(Gather, TakesRowsInAnyOrderAndAgain) {
  const std::vector<float> from = random_floats(5 * 7, 1);
  const std::vector<std::int64_t> rows = {4, 0, 2, 0};
  std::vector<float> to(rows.size() * 7);
  gather_cpu({from.data(), 7, rows, to.data()});
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t i = 0; i < 7; ++i)
      EXPECT_EQ(to[row * 7 + i], from[static_cast<std::size_t>(rows[row]) * 7 + i]);
  }
}

TEST(NarrowHeads, KeepsTheFirstChannelsOfEachHeadAndTheTail) {
  for (const auto& [heads, channels, kept, tail] :
       std::vector<std::array<std::int64_t, 4>>{{1, 8, 3, 5}, {6, 32, 16, 32}, {5, 4, 4, 2}, {3, 7, 1, 0}}) {
    constexpr std::int64_t kRows = 300;  // of several threads
    const std::int64_t stride = heads * channels + tail + 3;
    const std::vector<float> before = random_floats(kRows * stride, 2);
    std::vector<float> x = before;
    ThreadPool pool(2);
    narrow_heads_cpu(pool, {x.data(), stride, kRows, heads, channels, kept, tail});
    for (std::int64_t row = 0; row < kRows; ++row) {
      const auto at = [&](std::int64_t i) { return static_cast<std::size_t>(row * stride + i); };
      for (std::int64_t i = 0; i < heads * kept; ++i)
        ASSERT_EQ(x[at(i)], before[at(i / kept * channels + i % kept)]);
      for (std::int64_t i = 0; i < tail; ++i)
        ASSERT_EQ(x[at(heads * kept + i)], before[at(heads * channels + i)]);
    }
  }
}

}  // namespace
}  // namespace dslad::kernels
