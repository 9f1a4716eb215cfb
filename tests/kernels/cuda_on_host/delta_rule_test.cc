#include "kernels/delta/cuda/delta_rule.cuh"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/cuda_on_host/on_host.h"
#include "tests/kernels/delta_world.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::close;
using kernels::testing::DeltaLogits;
using kernels::testing::DeltaWorld;
using kernels::testing::DslaOutcome;
using kernels::testing::poisoned;
using kernels::testing::same_bits;
using testing::Executor;
using testing::kFloatTolerance;
using testing::Order;

constexpr DslaShape kSmallDelta{6, 2, 16, 16};

// All pieces row by row.
auto delta_by_steps(Order order = Order::kAscending) {
  return [order](const DeltaRuleArgs& args) {
    Executor executor(order);
    delta_step(executor, {args, true});
  };
}

// As the engine has it: pieces of one row by the recurrence, longer ones by the chunk form.
auto delta_by_form(Order order = Order::kAscending, std::int64_t slack = 0) {
  return [order, slack](const DeltaRuleArgs& args) {
    Executor executor(order);
    std::int64_t rows = 1 + slack, end = 0;
    for (const DslaPiece& piece : args.pieces) {
      rows = std::max(rows, piece.rows + slack);
      end = std::max(end, piece.first_row + piece.rows);
    }
    const std::size_t bytes = delta_workspace_bytes(args.shape, end, std::ssize(args.pieces));
    std::vector<float> workspace = poisoned(static_cast<std::int64_t>(bytes / sizeof(float)));
    delta_rule(executor, {args, rows, workspace.data(), true});
  };
}

void expect_close(const DeltaWorld& world, const DslaOutcome& actual, const DslaOutcome& expected) {
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

void expect_same_bits(const DslaOutcome& actual, const DslaOutcome& expected) {
  EXPECT_TRUE(same_bits(actual.o, expected.o));
  EXPECT_EQ(actual.states, expected.states);
}

class CudaDeltaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(CudaDeltaShapes, StepsMatchReference_InBothOrders) {
  DeltaWorld world(GetParam());
  for (const std::int64_t rows : {1, 1, 3}) world.add(rows);
  const DslaOutcome actual = world.run_by(delta_by_steps());
  expect_close(world, actual, world.run_ref());
  expect_same_bits(world.run_by(delta_by_steps(Order::kDescending)), actual);
}

TEST_P(CudaDeltaShapes, MixedStepMatchesReference_InBothOrders) {
  DeltaWorld world(GetParam(), 2);
  for (const std::int64_t rows : {1, 2, 32, 67}) world.add(rows);
  const DslaOutcome actual = world.run_by(delta_by_form());
  expect_close(world, actual, world.run_ref());
  expect_same_bits(world.run_by(delta_by_form(Order::kDescending)), actual);
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, CudaDeltaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8}, DslaShape{3, 1, 10, 22}, kSmallDelta,
                                           DslaShape{9, 3, 64, 64}, DslaShape{5, 1, 80, 48},
                                           DslaShape{19, 1, 12, 12}, DslaShape{2, 2, 128, 128},
                                           DslaShape{1, 1, 256, 70}, DslaShape{4, 1, 130, 33},
                                           DslaShape{1, 1, 270, 20}, DslaShape{3, 1, 600, 36}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}", s.n_heads, s.n_kv, s.d_k, s.d_v);
                         });

class CudaDeltaLogits : public ::testing::TestWithParam<DeltaLogits> {};

TEST_P(CudaDeltaLogits, StepsMatchReference) {
  for (const std::uint64_t seed : {3, 4}) {
    DeltaWorld world(kSmallDelta, seed, GetParam());
    for (const std::int64_t rows : {1, 9}) world.add(rows);
    expect_close(world, world.run_by(delta_by_steps()), world.run_ref());
  }
}

TEST_P(CudaDeltaLogits, MixedStepMatchesReference) {
  for (const std::uint64_t seed : {3, 4}) {
    DeltaWorld world(kSmallDelta, seed, GetParam());
    for (const std::int64_t rows : {1, 31, 33, 64, 70}) world.add(rows);
    expect_close(world, world.run_by(delta_by_form()), world.run_ref());
  }
}

INSTANTIATE_TEST_SUITE_P(Extremes, CudaDeltaLogits,
                         ::testing::Values(DeltaLogits{800, 0, 800, 0}, DeltaLogits{-800, 0, 800, 0},
                                           DeltaLogits{800, 0, -800, 0}, DeltaLogits{-800, 0, -800, 0},
                                           DeltaLogits{0, 800, 0, 800}, DeltaLogits{-30, 40, 4, 40},
                                           DeltaLogits{12, 1, 12, 1}));

// Nothing is found by them, and nothing is added along them.
TEST(CudaDelta, KeysAndQueriesOfZerosAreOfNoLength) {
  for (const float value : {0.0f, 1e-20f}) {
    DeltaWorld world(kSmallDelta, 5);
    world.add(7);
    for (const std::int64_t row : {1, 3, 4}) std::fill_n(world.k(row), 2 * 16, value);
    for (const std::int64_t row : {2, 3}) std::fill_n(world.q(row), 6 * 16, value);
    expect_close(world, world.run_by(delta_by_steps()), world.run_ref());
    expect_close(world, world.run_by(delta_by_form()), world.run_ref());
  }
}

// With beta 1 and no gate a value replaces what was there, however often it is said.
TEST(CudaDelta, AFactThatIsStatedAgainReplacesTheFormerOne) {
  DeltaWorld world({1, 1, 16, 16}, 6, {800, 0, 800, 0});
  world.add(40);
  for (std::int64_t row = 2; row <= 40; ++row) std::copy_n(world.k(1), 16, world.k(row));
  std::copy_n(world.k(1), 16, world.q(40));
  for (const DslaOutcome& outcome : {world.run_by(delta_by_steps()), world.run_by(delta_by_form())}) {
    expect_close(world, outcome, world.run_ref());
    const std::vector<float> rows = world.rows_of(outcome, 0);
    EXPECT_TRUE(close(std::span(rows).last(16), std::span(world.v(40), 16), kFloatTolerance));
  }
}

TEST(CudaDelta, PackedSequencesAreThoseOfEachAlone) {
  DeltaWorld world(kSmallDelta, 11);
  for (const std::int64_t rows : {1, 40, 1, 18}) world.add(rows);
  const DslaOutcome together = world.run_by(delta_by_form());
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = world.run_by(delta_by_form(Order::kAscending, 99), {&i, 1});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)))
        << "alone and with another limit";
    EXPECT_TRUE(same_bits(alone.states[i], together.states[i]));
  }
}

TEST(CudaDelta, TheRecurrenceMayBeCutAnywhere) {
  for (const int d_k : {16, 260}) {
    DeltaWorld world({2, 1, d_k, 20}, 12);
    world.add(9);
    const DslaOutcome whole = world.run_by(delta_by_steps());
    for (const std::int64_t rows : {1, 4}) expect_same_bits(world.run_cut(delta_by_steps(), rows), whole);
  }
}

TEST(CudaDelta, ChunksMayBeCutAtTheirEnds) {
  DeltaWorld world({2, 1, 40, 20}, 12);
  world.add(4 * kDeltaChunk);
  const DslaOutcome whole = world.run_by(delta_by_form());
  for (const std::int64_t chunks : {1, 2}) {
    expect_same_bits(world.run_cut(delta_by_form(), chunks * kDeltaChunk), whole);
  }
}

TEST(CudaDelta, StepsLeaveLongPiecesToTheChunkForm) {
  DeltaWorld world(kSmallDelta);
  world.add(2);
  world.add(1);
  const DslaOutcome outcome = world.run_by([](const DeltaRuleArgs& args) {
    Executor executor;
    delta_step(executor, {args});
  });
  EXPECT_EQ(outcome.states[0], world.initial_state(0));
  EXPECT_TRUE(std::isnan(world.rows_of(outcome, 0)[0]));
  EXPECT_NE(outcome.states[1], world.initial_state(1));
}

TEST(CudaDelta, GridsTakePiecesOfMillionsOfRows) {
  const std::vector<DslaPiece> pieces(3);
  DeltaRuleOnDevice step{};
  step.args.shape = kSmallDelta;
  step.args.pieces = pieces;
  step.most_rows = std::int64_t{1} << 21;
  const Grid grid = DeltaScores::grid(step);
  EXPECT_EQ(grid.x, 3 * (1 << 21) / kDeltaChunk);
  EXPECT_LE(grid.y, 65535);
  EXPECT_LE(grid.z, 65535);
}

// Errors of the parts that products are made of do not add up: a token takes from the state what it finds.
TEST(CudaDelta, LongSequencesStayWithTheReference) {
  for (const DeltaLogits& logits : {DeltaLogits{9, 2, 2, 2}, DeltaLogits{800, 0, 0, 1}}) {
    DeltaWorld world({1, 1, 16, 16}, 9, logits);
    world.add(2048);
    expect_close(world, world.run_by(delta_by_form()), world.run_ref());
  }
}

TEST(CudaDelta, TheRecurrenceIsLaunchedForSingleRows) {
  const std::vector<DslaPiece> pieces(2);
  DeltaRuleOnDevice step{};
  step.args.shape = kSmallDelta;
  step.args.pieces = pieces;
  step.most_rows = 20;
  testing::Launched of_prompts, of_both;
  delta_rule(of_prompts, step);
  EXPECT_EQ((of_prompts.count<DeltaStep<4, 4, true>>()), 0);
  EXPECT_EQ(of_prompts.all(), 2);
  step.single_rows = true;
  delta_rule(of_both, step);
  EXPECT_EQ((of_both.count<DeltaStep<4, 4, true>>()), 1);
  EXPECT_EQ(of_both.all(), 3);
}

// Whatever diverged must show where it has come to, and nowhere before.
class CudaDeltaNotANumber : public ::testing::TestWithParam<std::string> {};

TEST_P(CudaDeltaNotANumber, Shows) {
  constexpr std::int64_t kRows = 20, kBad = 9;
  DeltaWorld world({4, 2, 16, 16}, 7);
  world.add(kRows);
  const std::int64_t row = world.span(0).first_row + kBad;
  float* const at = GetParam() == "gate"    ? world.z(row)
                    : GetParam() == "beta"  ? world.z(row) + 2
                    : GetParam() == "key"   ? world.k(row) + 3
                    : GetParam() == "query" ? world.q(row) + 3
                                            : world.v(row) + 3;
  *at = std::numeric_limits<float>::quiet_NaN();
  const DslaOutcome expected = world.run_ref();
  for (const DslaOutcome& actual : {world.run_by(delta_by_steps()), world.run_by(delta_by_form())}) {
    for (std::size_t i = 0; i < expected.o.size(); ++i)
      ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "output " << i;
    for (std::size_t i = 0; i < expected.states[0].size(); ++i)
      ASSERT_EQ(std::isnan(actual.states[0][i]), std::isnan(expected.states[0][i])) << "of the state " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Where, CudaDeltaNotANumber,
                         ::testing::Values("gate", "beta", "key", "query", "value"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace dslad::kernels::cuda
