#include "kernels/dsla/cuda/dsla.cuh"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/cuda_on_host/on_host.h"
#include "tests/kernels/dsla_world.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::close;
using kernels::testing::DslaOutcome;
using kernels::testing::DslaWorld;
using kernels::testing::GateLogits;
using kernels::testing::poisoned;
using kernels::testing::same_bits;
using testing::Executor;
using testing::kFloatTolerance;
using testing::Order;

constexpr DslaShape kSmallShape{6, 2, 16, 16};

// All pieces row by row.
auto by_steps(Order order = Order::kAscending) {
  return [order](const DslaArgs& args) {
    Executor executor(order);
    dsla_step(executor, {args, true});
  };
}

// As the engine has it: pieces of one row by the recurrence, longer ones by the chunk form.
auto by_form(Order order = Order::kAscending, std::int64_t slack = 0) {
  return [order, slack](const DslaArgs& args) {
    Executor executor(order);
    std::int64_t rows = 1 + slack, end = 0;
    for (const DslaPiece& piece : args.pieces) {
      rows = std::max(rows, piece.rows + slack);
      end = std::max(end, piece.first_row + piece.rows);
    }
    const std::size_t bytes = dsla_workspace_bytes(args.shape, end, std::ssize(args.pieces));
    std::vector<float> workspace = poisoned(static_cast<std::int64_t>(bytes / sizeof(float)));
    dsla(executor, {args, rows, workspace.data(), true});
  };
}

void expect_close(const DslaWorld& world, const DslaOutcome& actual, const DslaOutcome& expected) {
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), kFloatTolerance))
        << "outputs of a piece of " << world.span(i).rows << " rows";
    EXPECT_TRUE(close(actual.states[i], expected.states[i], kFloatTolerance))
        << "states after a piece of " << world.span(i).rows << " rows";
  }
  for (std::size_t i = 0; i < expected.o.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "element " << i << " is in no piece";
  }
}

void expect_same(const DslaOutcome& actual, const DslaOutcome& expected) {
  EXPECT_TRUE(same_bits(actual.o, expected.o));
  EXPECT_EQ(actual.states, expected.states);
}

class CudaDslaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(CudaDslaShapes, StepsMatchReference_InBothOrders) {
  DslaWorld world(GetParam());
  for (const std::int64_t rows : {1, 1, 3}) world.add(rows);
  const DslaOutcome actual = world.run_by(by_steps());
  expect_close(world, actual, world.run_ref());
  expect_same(world.run_by(by_steps(Order::kDescending)), actual);
}

TEST_P(CudaDslaShapes, MixedStepMatchesReference_InBothOrders) {
  DslaWorld world(GetParam(), 2);
  for (const std::int64_t rows : {1, 2, 16, 35}) world.add(rows);
  const DslaOutcome actual = world.run_by(by_form());
  expect_close(world, actual, world.run_ref());
  expect_same(world.run_by(by_form(Order::kDescending)), actual);
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, CudaDslaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8}, DslaShape{3, 1, 10, 22}, kSmallShape,
                                           DslaShape{9, 3, 64, 64}, DslaShape{5, 1, 80, 48},
                                           DslaShape{19, 1, 12, 12}, DslaShape{2, 2, 128, 128},
                                           DslaShape{1, 1, 256, 70}, DslaShape{3, 1, 10, 22, 1},
                                           DslaShape{9, 3, 64, 64, 1}, DslaShape{1, 1, 256, 70, 1}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}s{}", s.n_heads, s.n_kv, s.d_k, s.d_v, s.states);
                         });

class CudaDslaGates : public ::testing::TestWithParam<GateLogits> {};

TEST_P(CudaDslaGates, StepsMatchReference) {
  for (const std::uint64_t seed : {3, 4}) {
    DslaWorld world(kSmallShape, seed, GetParam());
    for (const std::int64_t rows : {1, 9}) world.add(rows);
    expect_close(world, world.run_by(by_steps()), world.run_ref());
  }
}

TEST_P(CudaDslaGates, MixedStepMatchesReference) {
  for (const std::uint64_t seed : {3, 4}) {
    DslaWorld world(kSmallShape, seed, GetParam());
    for (const std::int64_t rows : {1, 15, 17, 64, 70}) world.add(rows);
    expect_close(world, world.run_by(by_form()), world.run_ref());
  }
}

INSTANTIATE_TEST_SUITE_P(Extremes, CudaDslaGates,
                         ::testing::Values(GateLogits{0, {800, 800}}, GateLogits{0, {-800, -800}},
                                           GateLogits{0, {800, -800}}, GateLogits{800, {0, 0}},
                                           GateLogits{40, {-30, -100}}, GateLogits{1, {12, 0}}));

TEST(CudaDsla, StepsLeaveLongPiecesToTheChunkForm) {
  DslaWorld world(kSmallShape);
  world.add(2);
  world.add(1);
  const DslaOutcome outcome = world.run_by([](const DslaArgs& args) {
    Executor executor;
    dsla_step(executor, {args});
  });
  EXPECT_EQ(outcome.states[0], world.initial_state(0));
  EXPECT_TRUE(std::isnan(world.rows_of(outcome, 0)[0]));
  EXPECT_NE(outcome.states[1], world.initial_state(1));
}

TEST(CudaDsla, GridsTakePiecesOfMillionsOfRows) {
  const std::vector<DslaPiece> pieces(3);
  DslaArgs args{};
  args.shape = kSmallShape;
  args.pieces = pieces;
  const Grid grid = DslaScores<4>::grid({args, std::int64_t{1} << 21, nullptr});
  EXPECT_EQ(grid.x, 3 * (1 << 21) / 16);
  EXPECT_LE(grid.y, 65535);
  EXPECT_LE(grid.z, 65535);
}

TEST(CudaDsla, PackedSequences_AreThoseOfEachAlone) {
  DslaWorld world(kSmallShape, 11);
  for (const std::int64_t rows : {1, 40, 1, 18}) world.add(rows);
  const DslaOutcome together = world.run_by(by_form());
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = world.run_by(by_form(Order::kAscending, 99), std::vector{i});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)))
        << "alone and with another limit";
    EXPECT_TRUE(same_bits(alone.states[i], together.states[i]));
  }
}

// A diverged gate must show, not pass for an open or a closed one.
TEST(CudaDsla, GateThatIsNotANumberShows) {
  for (const std::int64_t rows : {1, 20}) {
    DslaWorld world(kSmallShape, 7);
    world.add(rows);
    world.set_gate_logit(world.span(0).first_row, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(std::isnan(world.rows_of(world.run_by(by_form()), 0).front()));
  }
}

TEST(CudaDsla, StatesTooWideForTheChunkForm_GoRowByRow) {
  DslaWorld world({1, 1, 2 * kMaxChunkWidth, 12}, 8);
  world.add(3);
  expect_close(world, world.run_by(by_form()), world.run_ref());
}

TEST(CudaDsla, LongSequencesKeepTheHistoryState) {
  DslaWorld world({1, 1, 16, 16}, 9, {1, {9, 4}});
  world.add(2048);
  expect_close(world, world.run_by(by_form()), world.run_ref());
}

TEST(CudaDsla, TheRecurrenceIsLaunchedForSingleRows) {
  const std::vector<DslaPiece> pieces(2);
  DslaOnDevice step{};
  step.args.shape = kSmallShape;
  step.args.pieces = pieces;
  step.most_rows = 20;
  testing::Launched of_prompts, of_both;
  dsla(of_prompts, step);
  EXPECT_EQ(of_prompts.count<DslaStep<4>>(), 0);
  EXPECT_EQ(of_prompts.all(), 2);
  step.single_rows = true;
  dsla(of_both, step);
  EXPECT_EQ(of_both.count<DslaStep<4>>(), 1);
  EXPECT_EQ(of_both.all(), 3);
}

}  // namespace
}  // namespace dslad::kernels::cuda
