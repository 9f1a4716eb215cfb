#include "kernels/dsla/sequence_dsla.h"

#include <cmath>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/sequence_dsla_world.h"

namespace dslad::kernels {
namespace {

using testing::expect_close;
using testing::GateLogits;
using testing::PoisonedRows;
using testing::same_bits;
using testing::SequenceDslaOutcome;
using testing::SequenceDslaWorld;

constexpr DslaShape kSmallSequence{6, 2, 16, 12};

void expect_untouched_elsewhere(const PoisonedRows& actual, const PoisonedRows& expected) {
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_EQ(std::isnan(actual.values[i]), std::isnan(expected.values[i])) << "element " << i;
  }
}

class SequenceDslaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(SequenceDslaShapes, PackedSegmentsMatchReference) {
  SequenceDslaWorld world(GetParam());
  const std::int32_t document = world.add(100);
  world.add(1);
  for (const std::int64_t rows : {17, 1, 65}) world.add(rows, document);
  for (const std::int64_t rows : {15, 16, 63, 64, 200}) world.add(rows);
  const SequenceDslaOutcome actual = world.run(2), expected = world.run_ref();
  expect_close(world, actual, expected);
  expect_untouched_elsewhere(actual.o, expected.o);
  expect_untouched_elsewhere(actual.dq, expected.dq);
  expect_untouched_elsewhere(actual.dk, expected.dk);
  expect_untouched_elsewhere(actual.dv, expected.dv);
  expect_untouched_elsewhere(actual.dz, expected.dz);
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, SequenceDslaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8}, DslaShape{4, 2, 32, 32}, kSmallSequence,
                                           DslaShape{3, 1, 10, 22}, DslaShape{9, 3, 64, 64},
                                           DslaShape{8, 1, 20, 48}, DslaShape{2, 1, 6, 70},
                                           DslaShape{4, 2, 32, 32, 1}, DslaShape{3, 1, 10, 22, 1}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}s{}", s.n_heads, s.n_kv, s.d_k, s.d_v, s.states);
                         });

class SequenceDslaGates : public ::testing::TestWithParam<GateLogits> {};

TEST_P(SequenceDslaGates, MatchReference) {
  SequenceDslaWorld world(kSmallSequence, 3, GetParam());
  const std::int32_t document = world.add(65);
  for (const std::int64_t rows : {20, 70}) world.add(rows, document);
  for (const std::int64_t rows : {1, 16, 130}) world.add(rows);
  expect_close(world, world.run(2), world.run_ref());
}

INSTANTIATE_TEST_SUITE_P(Extremes, SequenceDslaGates,
                         ::testing::Values(GateLogits{0, {800, 800}}, GateLogits{0, {-800, -800}},
                                           GateLogits{0, {-900, 900}}, GateLogits{0, {800, -800}},
                                           GateLogits{800, {0, 0}}, GateLogits{40, {-30, -100}},
                                           GateLogits{1, {12, 0}}));

// A state that no output reads still has a gradient by its mixture.
TEST(SequenceDsla, OneStateAloneMatchesReference) {
  for (const float history : {0.0f, 1.0f}) {
    SequenceDslaWorld world(kSmallSequence, 4);
    world.add(90);
    world.set_mix(history, 1 - history);
    const SequenceDslaOutcome actual = world.run(1), expected = world.run_ref();
    expect_close(world, actual, expected);
    const std::size_t unread = history == 0 ? 0 : static_cast<std::size_t>(kSmallSequence.n_heads);
    EXPECT_NE(actual.d_mix[unread], -0.5f);
  }
}

TEST(SequenceDsla, LongSequencesKeepTheHistoryState) {
  SequenceDslaWorld world({1, 1, 16, 16}, 9, {1, {9, 4}});
  world.add(4096);
  expect_close(world, world.run(1), world.run_ref());
}

// Both are one sequence, so cutting it into a document and its only question changes rounding alone.
TEST(SequenceDsla, OnlyChildContinuesItsParent) {
  SequenceDslaWorld world(kSmallSequence, 5);
  world.add(100);
  world.add_behind(70, 0);
  const Segment whole{world.segments[0].first_row, 170};
  const SequenceDslaOutcome cut = world.run(1), one = world.run(1, {&whole, 1});
  expect_close(world, cut, one);
}

TEST(SequenceDsla, PackedSegmentsDoNotLeak) {
  SequenceDslaWorld world(kSmallSequence, 6);
  for (const std::int64_t rows : {70, 1, 128, 16}) world.add(rows);
  const SequenceDslaOutcome together = world.run(2);
  for (const Segment& segment : world.segments) {
    const SequenceDslaOutcome alone = world.run(2, {&segment, 1});
    EXPECT_TRUE(same_bits(alone.o.rows(segment), together.o.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dq.rows(segment), together.dq.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dk.rows(segment), together.dk.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dv.rows(segment), together.dv.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dz.rows(segment), together.dz.rows(segment)));
  }
}

TEST(SequenceDsla, SiblingsDoNotSeeEachOther) {
  SequenceDslaWorld world(kSmallSequence, 7);
  const std::int32_t document = world.add(80);
  for (const std::int64_t rows : {20, 65, 3}) world.add(rows, document);
  const SequenceDslaOutcome together = world.run(2);
  for (std::size_t child = 1; child < world.segments.size(); ++child) {
    const Segment pair[] = {world.segments[0], world.segments[child]};
    const SequenceDslaOutcome alone = world.run(2, pair);
    EXPECT_TRUE(same_bits(alone.o.rows(pair[1]), together.o.rows(pair[1])));
    EXPECT_TRUE(same_bits(alone.dq.rows(pair[1]), together.dq.rows(pair[1])));
    EXPECT_TRUE(same_bits(alone.dz.rows(pair[1]), together.dz.rows(pair[1])));
  }
}

TEST(SequenceDsla, ResultsDoNotDependOnThreads) {
  SequenceDslaWorld world({9, 3, 64, 64}, 12);
  const std::int32_t document = world.add(100);
  for (const std::int64_t rows : {30, 70}) world.add(rows, document);
  for (const std::int64_t rows : {128, 1}) world.add(rows);
  const SequenceDslaOutcome one = world.run(1);
  for (const int threads : {2, 3}) {
    const SequenceDslaOutcome many = world.run(threads);
    EXPECT_TRUE(same_bits(many.o.values, one.o.values));
    EXPECT_TRUE(same_bits(many.dq.values, one.dq.values));
    EXPECT_TRUE(same_bits(many.dk.values, one.dk.values));
    EXPECT_TRUE(same_bits(many.dv.values, one.dv.values));
    EXPECT_TRUE(same_bits(many.dz.values, one.dz.values));
    EXPECT_TRUE(same_bits(many.d_gate_bias, one.d_gate_bias));
    EXPECT_TRUE(same_bits(many.d_mix, one.d_mix));
  }
}

// Twice the tokens: twice the states at chunk boundaries and the same constant.
TEST(SequenceDsla, WorkspaceGrowsWithChunks) {
  const auto bytes = [](std::int64_t rows) {
    const Segment segment{0, rows};
    return sequence_dsla_workspace_bytes(kSmallSequence, {&segment, 1});
  };
  const std::size_t state = sizeof(float) * 2 * kSmallSequence.d_k * kSmallSequence.d_v;
  EXPECT_EQ(bytes(kDslaChunk * 64) - bytes(kDslaChunk * 32), 32 * state);
  EXPECT_EQ(bytes(kDslaChunk + 1) - bytes(kDslaChunk), state);
  EXPECT_EQ(bytes(1), bytes(kDslaChunk));
}

}  // namespace
}  // namespace dslad::kernels
