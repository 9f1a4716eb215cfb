#include <gtest/gtest.h>
#include <vector>

#include "kernels/attention/cuda/window_attention.cuh"
#include "tests/kernels/cuda_on_host/on_host.h"
#include "tests/kernels/window_world.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::close;
using kernels::testing::same_bits;
using kernels::testing::WindowOutcome;
using kernels::testing::WindowWorld;
using testing::Executor;
using testing::kFloatTolerance;
using testing::Order;

auto by_kernel(Order order = Order::kAscending, std::int64_t slack = 0) {
  return [order, slack](const WindowAttentionArgs& args) {
    std::int64_t rows = 1;
    for (const WindowPiece& piece : args.pieces) rows = std::max(rows, piece.rows + slack);
    Executor executor(order);
    window_attention(executor, {args, rows});
  };
}

class CudaWindows : public ::testing::TestWithParam<WindowShape> {};

TEST_P(CudaWindows, MixedStepMatchesReference_InBothOrders) {
  WindowWorld world(GetParam());
  for (const std::int64_t context : {0, 1, 31, 32, 100}) world.add(context, 1);
  world.add(0, 40);
  world.add(70, 9);
  const WindowOutcome expected = world.run_ref(), actual = world.run_by(by_kernel());
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), kFloatTolerance))
        << "piece of " << world.piece(i).rows << " rows after " << world.piece(i).context << " tokens";
    EXPECT_TRUE(same_bits(actual.rings[i], expected.rings[i]));
  }
  for (std::size_t i = 0; i < expected.o.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "element " << i << " is in no piece";
  }
  const WindowOutcome other = world.run_by(by_kernel(Order::kDescending, 50));
  EXPECT_TRUE(same_bits(other.o, actual.o)) << "in the other order, and with another limit";
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaWindows,
                         ::testing::Values(WindowShape{1, 1, 8, 1}, WindowShape{6, 2, 10, 7},
                                           WindowShape{3, 1, 64, 64}, WindowShape{4, 4, 22, 33},
                                           WindowShape{2, 1, 256, 5}, WindowShape{6, 2, 10, 7, 4},
                                           WindowShape{4, 4, 22, 33, 16}, WindowShape{1, 1, 8, 1, 1}));

TEST(CudaWindow, AnyCutIsTheSameBitForBit) {
  for (const std::int64_t sinks : {0, 4}) {
    for (const std::int64_t context : {0, 10, 300}) {
      WindowWorld world({6, 2, 16, 24, sinks});
      world.add(context, 50);
      const WindowOutcome whole = world.run_by(by_kernel());
      const WindowOutcome cut = world.run_cut_by(by_kernel(), 0, {1, 2, 17, 40, 50});
      EXPECT_TRUE(same_bits(cut.o, whole.o));
      EXPECT_TRUE(same_bits(cut.rings[0], whole.rings[0]));
    }
  }
}

}  // namespace
}  // namespace dslad::kernels::cuda
