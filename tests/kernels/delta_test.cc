#include <algorithm>
#include <cmath>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/delta/delta_rule.h"
#include "kernels/rows.h"
#include "tests/kernels/delta_world.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::DeltaLogits;
using testing::DeltaWorld;
using testing::DslaOutcome;
using testing::kTolerance;
using testing::same_bits;

constexpr DslaShape kSmallDelta{6, 2, 16, 16, 1};

void expect_close(const DeltaWorld& world, const DslaOutcome& actual, const DslaOutcome& expected) {
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), kTolerance))
        << "outputs of a piece of " << world.span(i).rows << " rows";
    EXPECT_TRUE(close(actual.states[i], expected.states[i], kTolerance))
        << "states after a piece of " << world.span(i).rows << " rows";
  }
}

class DeltaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(DeltaShapes, MixedStepMatchesReference) {
  DeltaWorld world(GetParam());
  for (const std::int64_t rows : {1, 1, 2, 15, 31, 32, 33, 64, 65, 100, 128, 130}) world.add(rows);
  const DslaOutcome expected = world.run_ref(), actual = world.run(2);
  expect_close(world, actual, expected);
  for (std::size_t i = 0; i < expected.o.size(); ++i)
    ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "element " << i << " is in no piece";
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, DeltaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8, 1}, DslaShape{3, 1, 10, 22, 1}, kSmallDelta,
                                           DslaShape{9, 3, 64, 64, 1}, DslaShape{9, 3, 256, 64, 1},
                                           DslaShape{71, 1, 12, 12, 1}, DslaShape{2, 2, 128, 128, 1},
                                           DslaShape{2, 1, 256, 254, 1}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}", s.n_heads, s.n_kv, s.d_k, s.d_v);
                         });

class DeltaGates : public ::testing::TestWithParam<DeltaLogits> {};

TEST_P(DeltaGates, MatchReference) {
  DeltaWorld world(kSmallDelta, 3, GetParam());
  for (const std::int64_t rows : {1, 7, 31, 32, 33, 90, 260}) world.add(rows);
  expect_close(world, world.run(2), world.run_ref());
}

INSTANTIATE_TEST_SUITE_P(Extremes, DeltaGates,
                         ::testing::Values(DeltaLogits{800, 0, 800, 0}, DeltaLogits{-800, 0, 0, 0},
                                           DeltaLogits{800, 0, -800, 0}, DeltaLogits{0, 800, 0, 800},
                                           DeltaLogits{-30, 40, 5, 40}, DeltaLogits{12, 1, -3, 1},
                                           DeltaLogits{-75, 3, 2, 3}));

// What a key found is gone once a value is stored by it anew, and other keys find what they did.
TEST(Delta, AFactThatIsStatedAgainReplacesTheFormer) {
  const int d = 4;
  // Keys of other lengths than 1, on two axes; gates and betas are 1.
  const std::vector<float> k = {2, 0, 0, 0, 0, 3, 0, 0, 5, 0, 0, 0}, q = {1, 0, 0, 0, 0, 7, 0, 0, 1, 0, 0, 0};
  const std::vector<float> v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6}, z(6, 800), bias(2, 0);
  for (const bool whole : {true, false}) {
    std::vector<float> state(d * d), o(12);
    ThreadPool pool(1);
    const auto run = [&](std::int64_t first, std::int64_t rows) {
      const DslaPiece piece{first, rows, state.data()};
      delta_rule_cpu(pool, {{1, 1, d, d, 1},
                            q.data(),
                            d,
                            k.data(),
                            d,
                            v.data(),
                            d,
                            z.data(),
                            2,
                            bias.data(),
                            o.data(),
                            d,
                            {&piece, 1}});
    };
    if (whole) run(0, 3);
    for (std::int64_t row = 0; !whole && row < 3; ++row) run(row, 1);
    EXPECT_TRUE(close(o, v, kTolerance));
    EXPECT_TRUE(close(state, std::vector<float>{9, 8, 7, 6, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, kTolerance));
  }
}

TEST(Delta, AKeyOfZerosStoresAndFindsNothing) {
  for (const std::int64_t rows : {1, 40}) {
    DeltaWorld world(kSmallDelta, 4, {800, 0, 0, 1});
    world.add(rows);
    for (std::int64_t t = 0; t < rows; ++t) std::fill_n(world.k(world.span(0).first_row + t), 2 * 16, 0.0f);
    EXPECT_TRUE(same_bits(world.run(1).states[0], world.initial_state(0)));
    expect_close(world, world.run(1), world.run_ref());
  }
}

// A diverged gate must show, not pass for an open or a closed one.
TEST(Delta, GateThatIsNotANumberShows) {
  for (const std::int64_t rows : {1, 20}) {
    DeltaWorld world(kSmallDelta, 7);
    world.add(rows);
    *world.z(world.span(0).first_row) = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(world.rows_of(world.run(1), 0).front()));
    EXPECT_TRUE(std::isnan(world.rows_of(world.run_ref(), 0).front()));
  }
}

TEST(Delta, AnyCutGivesOutputAndStateOfOnePiece) {
  DeltaWorld world(kSmallDelta, 8);
  world.add(200);
  const DslaOutcome whole = world.run(1);
  expect_close(world, world.run_cut({1, 2, 17, 64, 65, 130, 199, 200}), whole);
  std::vector<std::int64_t> every(200);
  std::iota(every.begin(), every.end(), 1);
  expect_close(world, world.run_cut(every), whole);
}

TEST(Delta, ALongPieceIsThoseOfAPromptBitForBit) {
  for (const std::int64_t rows : {129, 136, 256, 300, 641}) {
    DeltaWorld world(kSmallDelta, 8);
    world.add(rows);
    std::vector<std::int64_t> ends;
    for (std::int64_t end = kPieceRows; end < rows; end += kPieceRows) ends.push_back(end);
    ends.push_back(rows);
    const DslaOutcome whole = world.run(2), cut = world.run_cut(ends);
    EXPECT_TRUE(same_bits(whole.o, cut.o)) << rows << " rows";
    EXPECT_TRUE(same_bits(whole.states[0], cut.states[0])) << rows << " rows";
  }
}

// Every chunk rounds the state once: what adds up over a long document, at gates that are all but open.
TEST(Delta, LongSequencesKeepTheState) {
  for (const auto& [rows, allowed] : {std::pair{4096, kTolerance}, std::pair{32768, 1e-4}}) {
    DeltaWorld world({1, 1, 16, 16, 1}, 9, {9, 1, 0, 1});
    world.add(rows);
    const DslaOutcome actual = world.run(1), expected = world.run_ref();
    EXPECT_TRUE(close(world.rows_of(actual, 0), world.rows_of(expected, 0), allowed)) << rows << " tokens";
    EXPECT_TRUE(close(actual.states[0], expected.states[0], allowed)) << rows << " tokens";
  }
}

TEST(Delta, LaterTokensDoNotReachBack) {
  DeltaWorld world(kSmallDelta, 10);
  world.add(80);
  const std::vector<float> before = world.rows_of(world.run(1), 0);
  const std::int64_t changed = 50;
  for (std::int64_t t = changed; t < 80; ++t) *world.v(world.span(0).first_row + t) *= -5.0f;
  const std::vector<float> after = world.rows_of(world.run(1), 0);
  const std::size_t boundary = changed * kSmallDelta.n_heads * kSmallDelta.d_v;
  EXPECT_TRUE(same_bits({after.data(), boundary}, {before.data(), boundary}));
  EXPECT_FALSE(same_bits(after, before));
}

TEST(Delta, APieceAloneAndInCompanyIsTheSameBitForBit) {
  DeltaWorld world({9, 3, 64, 64, 1}, 11);
  for (const std::int64_t rows : {1, 50, 1, 128, 33}) world.add(rows);
  const DslaOutcome one = world.run(1);
  for (const int threads : {2, 3}) EXPECT_TRUE(same_bits(world.run(threads).o, one.o));
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = world.run(1, {&i, 1});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(one, i)));
    EXPECT_TRUE(same_bits(alone.states[i], one.states[i]));
  }
}

}  // namespace
}  // namespace dslad::kernels
