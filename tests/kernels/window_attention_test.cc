#include "kernels/attention/window_attention.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/attention/sequence_attention.h"
#include "tests/kernels/window_world.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::kTolerance;
using testing::same_bits;
using testing::WindowOutcome;
using testing::WindowWorld;

constexpr WindowShape kSmallWindow{6, 2, 16, 64};

// Outputs within float32 rounding; rings and what lies between the rows bit for bit.
void expect_same_as_ref(const WindowWorld& world) {
  const WindowOutcome expected = world.run_ref(), actual = world.run(2);
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), kTolerance))
        << world.piece(i).rows << " rows after " << world.piece(i).context << " tokens";
    EXPECT_TRUE(same_bits(actual.rings[i], expected.rings[i]));
  }
  for (std::size_t i = 0; i < expected.o.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "element " << i << " is in no piece";
  }
}

class WindowShapes : public ::testing::TestWithParam<WindowShape> {};

TEST_P(WindowShapes, MixedStepMatchesReference) {
  WindowWorld world(GetParam());
  const std::int64_t window = GetParam().window;
  for (const std::int64_t context :
       {std::int64_t{0}, std::int64_t{1}, window - 1, window, window + 1, 10 * window + 7}) {
    world.add(context, 1);
    world.add(context, 37);
  }
  world.add(0, 128);
  world.add(31, 128);
  expect_same_as_ref(world);
}

INSTANTIATE_TEST_SUITE_P(
    HeadSizesGroupsAndWindows, WindowShapes,
    ::testing::Values(WindowShape{1, 1, 8, 64}, WindowShape{1, 1, 8, 1}, kSmallWindow,
                      WindowShape{6, 2, 10, 2}, WindowShape{5, 1, 22, 33}, WindowShape{9, 3, 64, 64},
                      WindowShape{4, 4, 80, 31}, WindowShape{71, 1, 12, 100}, WindowShape{32, 4, 64, 32},
                      WindowShape{3, 1, 254, 65}, WindowShape{4, 2, 256, 200}, WindowShape{7, 1, 96, 5},
                      WindowShape{6, 2, 16, 64, 4}, WindowShape{9, 3, 64, 33, 16}, WindowShape{1, 1, 8, 1, 1},
                      WindowShape{5, 1, 22, 7, 3}, WindowShape{2, 2, 32, 1000, 4}),
    [](const auto& test) {
      const WindowShape& s = test.param;
      return fmt::format("h{}kv{}d{}w{}s{}", s.n_heads, s.n_kv, s.head_dim, s.window, s.sinks);
    });

// The same tokens as one segment of training's attention.
TEST(WindowAttention, EqualsTrainingsAttentionCutToTheWindow) {
  for (const auto& [window, sinks] :
       {std::pair{1, 0}, std::pair{7, 0}, std::pair{64, 0}, std::pair{500, 0}, std::pair{1, 1},
        std::pair{7, 4}, std::pair{64, 4}, std::pair{40, 16}, std::pair{500, 4}}) {
    const WindowShape shape{6, 2, 16, window, sinks};
    WindowWorld world(shape);
    world.add(0, 300);
    const std::int64_t first = world.piece(0).first_row, rows = world.piece(0).rows;
    const Segment segment{0, rows, -1};
    std::vector<float> o = testing::poisoned(rows * world.q_stride()),
                       lse(static_cast<std::size_t>(rows * 6));
    sequence_attention_ref({.n_heads = shape.n_heads,
                            .n_kv = shape.n_kv,
                            .head_dim = shape.head_dim,
                            .scale = world.scale(),
                            .window = window,
                            .q = world.q().data() + first * world.q_stride(),
                            .q_stride = world.q_stride(),
                            .k = world.k().data() + first * world.kv_stride(),
                            .v = world.v().data() + first * world.kv_stride(),
                            .kv_stride = world.kv_stride(),
                            .o = o.data(),
                            .o_stride = world.q_stride(),
                            .lse = lse.data(),
                            .entropy = nullptr,
                            .segments = {&segment, 1},
                            .sinks = sinks});
    o.insert(o.begin(), static_cast<std::size_t>(first * world.q_stride()), 0.0f);
    const WindowOutcome expected{o, {}};
    EXPECT_TRUE(close(world.rows_of(world.run(2), 0), world.rows_of(expected, 0), kTolerance)) << window;
    EXPECT_TRUE(close(world.rows_of(world.run_ref(), 0), world.rows_of(expected, 0), 1e-6)) << window;
  }
}

TEST(WindowAttention, ResultsDoNotDependOnThreadsOrOtherPieces) {
  WindowWorld world({9, 3, 64, 64});
  for (const std::int64_t context : {5, 600, 2100}) world.add(context, 1);
  world.add(300, 64);
  const WindowOutcome together = world.run(1);
  EXPECT_TRUE(same_bits(world.run(5).o, together.o));
  ThreadPool pool(2);
  for (std::size_t i = 0; i < world.size(); ++i) {
    const WindowOutcome alone = world.run(pool, {i});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)));
    EXPECT_TRUE(same_bits(alone.rings[i], together.rings[i]));
  }
}

std::vector<std::int64_t> token_by_token(std::int64_t count) {
  std::vector<std::int64_t> cuts(static_cast<std::size_t>(count));
  std::iota(cuts.begin(), cuts.end(), 1);
  return cuts;
}

TEST(WindowAttention, AnyCutIntoPiecesGivesTheSameBits) {
  for (const WindowShape& shape :
       {kSmallWindow, WindowShape{5, 1, 22, 33}, WindowShape{4, 4, 8, 1}, WindowShape{9, 3, 64, 150},
        WindowShape{2, 2, 32, 1000}, WindowShape{6, 2, 16, 64, 4}, WindowShape{9, 3, 64, 20, 16},
        WindowShape{4, 4, 8, 1, 2}}) {
    for (const std::int64_t context : {0, 17, 700}) {
      WindowWorld world(shape);
      world.add(context, 400);
      const WindowOutcome whole = world.run(2);
      for (const auto& cuts : {token_by_token(400), std::vector<std::int64_t>{1, 64, 100, 228, 390, 400},
                               std::vector<std::int64_t>{128, 256, 384, 400}}) {
        const WindowOutcome cut = world.run_cut(0, cuts);
        EXPECT_TRUE(same_bits(cut.o, whole.o))
            << "window " << shape.window << ", sinks " << shape.sinks << " after " << context;
        EXPECT_TRUE(same_bits(cut.rings[0], whole.rings[0]));
      }
    }
  }
}

TEST(WindowAttention, ExtremeScoresStayFinite) {
  WindowWorld world(kSmallWindow);
  world.add(1000, 1, 3000.0f);
  world.add(0, 90, 3000.0f);
  expect_same_as_ref(world);
}

}  // namespace
}  // namespace dslad::kernels
