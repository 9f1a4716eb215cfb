#include "kernels/dsla/head_share.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;
using testing::same_bits;

struct HeadShareShape {
  std::int64_t rows;
  int heads, d;
};

class HeadShare : public ::testing::TestWithParam<HeadShareShape> {
 protected:
  HeadShareShape shape = GetParam();
  std::int64_t stride = shape.heads * shape.d + 3;
  std::vector<float> x = random_floats(shape.rows * stride, 1), y = random_floats(shape.rows * stride, 2);
  std::vector<float> share = random_floats(shape.heads, 3);

  HeadShareArgs forward(std::vector<float>& out) const {
    return {x.data(), stride, share.data(), out.data(), stride, shape.rows, shape.heads, shape.d};
  }
  HeadShareBackwardArgs backward(std::vector<float>& dx, std::vector<float>& d_share) const {
    return {x.data(), stride,         share.data(), y.data(),    stride, dx.data(),
            stride,   d_share.data(), shape.rows,   shape.heads, shape.d};
  }
};

TEST_P(HeadShare, EqualsReferenceWithAnyNumberOfThreads) {
  std::vector<float> expected = y, alone = y;
  head_share_ref(forward(expected));
  ThreadPool one(1);
  head_share_cpu(one, forward(alone));
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  ThreadPool three(3);
  std::vector<float> together = y;
  head_share_cpu(three, forward(together));
  EXPECT_TRUE(same_bits(together, alone));
}

TEST_P(HeadShare, GradientsEqualReferenceWithAnyNumberOfThreads) {
  std::vector<float> expected_dx = x, alone_dx = x, expected(share.size(), 0.5f), alone = expected;
  head_share_backward_ref(backward(expected_dx, expected));
  ThreadPool one(1), three(3);
  head_share_backward_cpu(one, backward(alone_dx, alone));
  EXPECT_TRUE(close(alone_dx, expected_dx, DType::kF32));
  EXPECT_TRUE(close(alone, expected, DType::kF32));
  std::vector<float> together_dx = x, together(share.size(), 0.5f);
  head_share_backward_cpu(three, backward(together_dx, together));
  EXPECT_TRUE(same_bits(together_dx, alone_dx));
  EXPECT_TRUE(same_bits(together, alone));
}

// The map is linear in x and in the share, so both gradients follow from the outputs themselves.
TEST_P(HeadShare, GradientsAreThoseOfTheSum) {
  std::vector<float> out(y.size(), 0.0f), dx = x, d_share(share.size(), 0.0f);
  head_share_ref(forward(out));
  head_share_backward_ref(backward(dx, d_share));
  double by_output = 0, by_x = 0, by_share = 0;
  for (std::int64_t t = 0; t < shape.rows; ++t) {
    for (std::int64_t i = 0; i < std::int64_t{shape.heads} * shape.d; ++i) {
      const auto at = static_cast<std::size_t>(t * stride + i);
      by_output += static_cast<double>(out[at]) * static_cast<double>(y[at]);
      by_x += static_cast<double>(dx[at]) * static_cast<double>(x[at]);
    }
  }
  for (std::size_t h = 0; h < share.size(); ++h) {
    by_share += static_cast<double>(share[h]) * static_cast<double>(d_share[h]);
  }
  EXPECT_NEAR(by_x, by_output, 1e-4 * (1.0 + std::abs(by_output)));
  EXPECT_NEAR(by_share, by_output, 1e-4 * (1.0 + std::abs(by_output)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, HeadShare,
                         ::testing::Values(HeadShareShape{1, 1, 8}, HeadShareShape{5, 3, 10},
                                           HeadShareShape{300, 4, 32}, HeadShareShape{700, 9, 64}));

}  // namespace
}  // namespace dslad::kernels
