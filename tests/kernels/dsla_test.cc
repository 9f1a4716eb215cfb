#include "kernels/dsla/dsla.h"

#include <cmath>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/rows.h"
#include "tests/kernels/dsla_world.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::DslaOutcome;
using testing::DslaWorld;
using testing::GateLogits;
using testing::kTolerance;
using testing::same_bits;

constexpr DslaShape kSmallDsla{6, 2, 16, 16};
// As small as AMX takes it, where the processor has it.
constexpr DslaShape kSmallTiles{6, 2, 32, 32};

void expect_close(const DslaWorld& world, const DslaOutcome& actual, const DslaOutcome& expected) {
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), kTolerance))
        << "outputs of a piece of " << world.span(i).rows << " rows";
    EXPECT_TRUE(close(actual.states[i], expected.states[i], kTolerance))
        << "states after a piece of " << world.span(i).rows << " rows";
  }
}

class DslaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(DslaShapes, MixedStepMatchesReference) {
  DslaWorld world(GetParam());
  for (const std::int64_t rows : {1, 1, 2, 15, 16, 17, 63, 64, 65, 100, 128, 130}) world.add(rows);
  const DslaOutcome expected = world.run_ref();
  const DslaOutcome actual = world.run(2);
  expect_close(world, actual, expected);
  for (std::size_t i = 0; i < expected.o.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.o[i]), std::isnan(expected.o[i])) << "element " << i << " is in no piece";
  }
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, DslaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8}, DslaShape{3, 1, 10, 22}, kSmallDsla,
                                           DslaShape{9, 3, 64, 64}, DslaShape{5, 1, 80, 48},
                                           DslaShape{71, 1, 12, 12}, DslaShape{32, 4, 64, 64},
                                           DslaShape{2, 2, 128, 128}, DslaShape{2, 1, 256, 254},
                                           DslaShape{3, 1, 10, 22, 1}, DslaShape{9, 3, 64, 64, 1},
                                           DslaShape{2, 1, 256, 254, 1}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}s{}", s.n_heads, s.n_kv, s.d_k, s.d_v, s.states);
                         });

class DslaGates : public ::testing::TestWithParam<GateLogits> {};

TEST_P(DslaGates, MatchReference) {
  for (const DslaShape& shape : {kSmallDsla, kSmallTiles}) {
    DslaWorld world(shape, 3, GetParam());
    for (const std::int64_t rows : {1, 7, 63, 64, 65, 90, 260}) world.add(rows);
    expect_close(world, world.run(2), world.run_ref());
  }
}

INSTANTIATE_TEST_SUITE_P(Extremes, DslaGates,
                         ::testing::Values(GateLogits{0, {800, 800}}, GateLogits{0, {-800, -800}},
                                           GateLogits{0, {800, -800}}, GateLogits{800, {0, 0}},
                                           GateLogits{40, {-30, -100}}, GateLogits{1, {12, 0}},
                                           GateLogits{3, {9, -40}}, GateLogits{3, {-20, -75}},
                                           GateLogits{20, {5, -90}}, GateLogits{2, {6, -120}}));

// With every gate open nothing is forgotten: o_t = s q_t^T (S_0 + sum of k v^T), whatever the mixture.
TEST(Dsla, OpenGatesKeepEverything) {
  DslaWorld world({1, 1, 8, 8}, 5, {0, {800, 800}});
  world.add(100);
  world.set_mix(0.25f, 0.75f);
  const auto [first, rows] = world.span(0);
  std::vector<double> sums[2];
  const std::vector<float>& state = world.initial_state(0);
  for (int i = 0; i < 2; ++i) sums[i].assign(state.begin() + i * 64, state.begin() + (i + 1) * 64);
  std::vector<float> expected;
  for (std::int64_t t = first; t < first + rows; ++t) {
    for (int j = 0; j < 8; ++j) {
      double o = 0;
      for (int a = 0; a < 8; ++a) {
        for (auto& sum : sums) sum[a * 8 + j] += double{world.k(t)[a]} * world.v(t)[j];
        o += world.q(t)[a] * (0.25 * sums[0][a * 8 + j] + 0.75 * sums[1][a * 8 + j]);
      }
      expected.push_back(static_cast<float>(o / std::sqrt(8.0)));
    }
  }
  EXPECT_TRUE(close(world.rows_of(world.run(1), 0), expected, kTolerance));
}

// With every gate closed a token sees itself alone: o_t = s (q_t . k_t) v_t.
TEST(Dsla, ClosedGatesForgetEverything) {
  DslaWorld world({1, 1, 8, 8}, 6, {0, {-800, -800}});
  world.add(100);
  const auto [first, rows] = world.span(0);
  std::vector<float> expected;
  for (std::int64_t t = first; t < first + rows; ++t) {
    const double score = std::inner_product(world.q(t), world.q(t) + 8, world.k(t), 0.0);
    for (int j = 0; j < 8; ++j)
      expected.push_back(static_cast<float>(score * world.v(t)[j] / std::sqrt(8.0)));
  }
  EXPECT_TRUE(close(world.rows_of(world.run(1), 0), expected, kTolerance));
}

// By vectors, and by AMX where there is some.
class DslaForms : public ::testing::TestWithParam<DslaShape> {};

INSTANTIATE_TEST_SUITE_P(VectorsAndTiles, DslaForms, ::testing::Values(kSmallDsla, kSmallTiles));

// A diverged gate must show, not pass for an open or a closed one.
TEST_P(DslaForms, GateThatIsNotANumberShows) {
  for (const std::int64_t rows : {1, 20}) {
    DslaWorld world(GetParam(), 7);
    world.add(rows);
    world.set_gate_logit(world.span(0).first_row, std::numeric_limits<float>::quiet_NaN());
    EXPECT_TRUE(std::isnan(world.rows_of(world.run(1), 0).front()));
    EXPECT_TRUE(std::isnan(world.rows_of(world.run_ref(), 0).front()));
  }
}

TEST_P(DslaForms, TwoSingleStatesAddUpByTheMixingRule) {
  DslaWorld world(GetParam(), 7);
  world.add(100);
  world.add(1);
  world.set_mix(1, 0);
  const DslaOutcome history = world.run(1);
  world.set_mix(0, 1);
  const DslaOutcome recency = world.run(1);
  world.set_mix(0.3f, 0.7f);
  const DslaOutcome both = world.run(1);
  for (std::size_t i = 0; i < world.size(); ++i) {
    std::vector<float> mixed = world.rows_of(history, i);
    const std::vector<float> other = world.rows_of(recency, i);
    for (std::size_t j = 0; j < mixed.size(); ++j) mixed[j] = 0.3f * mixed[j] + 0.7f * other[j];
    EXPECT_TRUE(close(world.rows_of(both, i), mixed, kTolerance));
    EXPECT_TRUE(same_bits(both.states[i], history.states[i])) << "the mixture is not part of the states";
  }
}

TEST_P(DslaForms, AnyCutGivesOutputAndStateOfOnePiece) {
  DslaWorld world(GetParam(), 8);
  world.add(200);
  const DslaOutcome whole = world.run(1);
  expect_close(world, world.run_cut({1, 2, 17, 64, 65, 130, 199, 200}), whole);
  expect_close(world, world.run_cut({128, 200}), whole);
  std::vector<std::int64_t> every(200);
  std::iota(every.begin(), every.end(), 1);
  expect_close(world, world.run_cut(every), whole);
}

// Also where gates close so far that blocks are shorter, and where one row is left.
TEST_P(DslaForms, ALongPieceIsThoseOfAPromptBitForBit) {
  for (const GateLogits gates : {GateLogits{}, GateLogits{60, {0, -100}}}) {
    for (const std::int64_t rows : {129, 136, 256, 300, 641}) {
      DslaWorld world(GetParam(), 8, gates);
      world.add(rows);
      std::vector<std::int64_t> ends;
      for (std::int64_t end = kPieceRows; end < rows; end += kPieceRows) ends.push_back(end);
      ends.push_back(rows);
      const DslaOutcome whole = world.run(2), cut = world.run_cut(ends);
      EXPECT_TRUE(same_bits(whole.o, cut.o)) << rows << " rows";
      EXPECT_TRUE(same_bits(whole.states[0], cut.states[0])) << rows << " rows";
    }
  }
}

// Every chunk rounds the state once: what adds up over a long document, at gates that are all but open.
TEST(Dsla, LongSequencesKeepTheHistoryState) {
  for (const auto& [rows, allowed] : {std::pair{4096, kTolerance}, std::pair{32768, 1e-4}}) {
    DslaWorld world({1, 1, 16, 16}, 9, {1, {9, 4}});
    world.add(rows);
    std::vector<std::int64_t> ends;
    for (std::int64_t end = 128; end <= rows; end += 128) ends.push_back(end);
    const DslaOutcome actual = world.run_cut(ends), expected = world.run_ref();
    EXPECT_TRUE(close(world.rows_of(actual, 0), world.rows_of(expected, 0), allowed)) << rows << " tokens";
    EXPECT_TRUE(close(actual.states[0], expected.states[0], allowed)) << rows << " tokens";
  }
}

TEST_P(DslaForms, LaterTokensDoNotReachBack) {
  DslaWorld world(GetParam(), 10);
  world.add(80);
  const std::vector<float> before = world.rows_of(world.run(1), 0);
  const std::int64_t changed = 50;
  for (std::int64_t t = changed; t < 80; ++t) world.scale_row(world.span(0).first_row + t, -5.0f);
  const std::vector<float> after = world.rows_of(world.run(1), 0);
  const std::size_t boundary = changed * GetParam().n_heads * GetParam().d_v;
  EXPECT_TRUE(same_bits({after.data(), boundary}, {before.data(), boundary}));
  EXPECT_FALSE(same_bits(after, before));
}

TEST_P(DslaForms, PackedSequencesDoNotLeak) {
  DslaWorld world(GetParam(), 11);
  for (const std::int64_t rows : {1, 70, 1, 128, 16}) world.add(rows);
  const DslaOutcome together = world.run(2);
  for (std::size_t i = 0; i < world.size(); ++i) {
    const DslaOutcome alone = world.run(2, std::vector{i});
    EXPECT_TRUE(same_bits(world.rows_of(alone, i), world.rows_of(together, i)));
    EXPECT_TRUE(same_bits(alone.states[i], together.states[i]));
  }
}

TEST(Dsla, ResultsDoNotDependOnThreads) {
  DslaWorld world({9, 3, 64, 64}, 12);
  for (const std::int64_t rows : {1, 128, 1, 100}) world.add(rows);
  const DslaOutcome one = world.run(1);
  for (const int threads : {2, 5}) {
    const DslaOutcome many = world.run(threads);
    EXPECT_TRUE(same_bits(many.o, one.o));
    EXPECT_EQ(many.states, one.states);
  }
}

}  // namespace
}  // namespace dslad::kernels
