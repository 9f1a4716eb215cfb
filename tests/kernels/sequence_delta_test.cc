// Training's delta rule against its reference, and the reference's gradients against central differences of
// its own forward pass (delta_golden_test.cc holds that to a closed form).
#include <cmath>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/delta/sequence_delta_rule.h"
#include "tests/kernels/sequence_delta_world.h"
#include "tests/sanitized.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::DeltaLogits;
using testing::expect_close;
using testing::PoisonedRows;
using testing::same_bits;
using testing::SequenceDeltaOutcome;
using testing::SequenceDeltaWorld;

constexpr DslaShape kShortDelta{6, 2, 16, 12, 1};

void expect_untouched_elsewhere(const PoisonedRows& actual, const PoisonedRows& expected) {
  for (std::size_t i = 0; i < expected.values.size(); ++i)
    ASSERT_EQ(std::isnan(actual.values[i]), std::isnan(expected.values[i])) << "element " << i;
}

class SequenceDeltaShapes : public ::testing::TestWithParam<DslaShape> {};

TEST_P(SequenceDeltaShapes, PackedSegmentsMatchReference) {
  SequenceDeltaWorld world(GetParam());
  const std::int32_t document = world.add(100);
  world.add(1);
  for (const std::int64_t rows : {17, 1, 65}) world.add(rows, document);
  for (const std::int64_t rows : {15, 31, 32, 33, 200}) world.add(rows);
  const SequenceDeltaOutcome actual = world.run(2), expected = world.run_ref();
  expect_close(world, actual, expected);
  expect_untouched_elsewhere(actual.o, expected.o);
  expect_untouched_elsewhere(actual.dq, expected.dq);
  expect_untouched_elsewhere(actual.dk, expected.dk);
  expect_untouched_elsewhere(actual.dv, expected.dv);
  expect_untouched_elsewhere(actual.dz, expected.dz);
}

INSTANTIATE_TEST_SUITE_P(HeadSizesAndGroups, SequenceDeltaShapes,
                         ::testing::Values(DslaShape{1, 1, 8, 8, 1}, DslaShape{4, 2, 32, 32, 1}, kShortDelta,
                                           DslaShape{3, 1, 10, 22, 1}, DslaShape{9, 3, 64, 64, 1},
                                           DslaShape{2, 1, 6, 70, 1}),
                         [](const auto& test) {
                           const DslaShape& s = test.param;
                           return fmt::format("h{}kv{}k{}v{}", s.n_heads, s.n_kv, s.d_k, s.d_v);
                         });

class SequenceDeltaGates : public ::testing::TestWithParam<DeltaLogits> {};

TEST_P(SequenceDeltaGates, MatchReference) {
  SequenceDeltaWorld world(kShortDelta, 3, GetParam());
  const std::int32_t document = world.add(65);
  for (const std::int64_t rows : {20, 70}) world.add(rows, document);
  for (const std::int64_t rows : {1, 32, 130}) world.add(rows);
  expect_close(world, world.run(2), world.run_ref());
}

INSTANTIATE_TEST_SUITE_P(Extremes, SequenceDeltaGates,
                         ::testing::Values(DeltaLogits{800, 0, 800, 0}, DeltaLogits{-900, 0, 0, 0},
                                           DeltaLogits{800, 0, -800, 0}, DeltaLogits{0, 800, 0, 800},
                                           DeltaLogits{-30, 40, 5, 40}, DeltaLogits{12, 1, 0, 1}));

TEST(SequenceDelta, AKeyOfZerosHasAGradient) {
  SequenceDeltaWorld world(kShortDelta, 4, {800, 0, 0, 1});
  world.add(40);
  world.set_key(world.segments[0].first_row + 39, 0);
  SequenceDeltaOutcome actual = world.run(1), expected = world.run_ref();
  // That token's own is as large as the least length makes it.
  const auto at = (world.segments[0].first_row + 39) * world.k.stride();
  EXPECT_TRUE(close({actual.dk.values.data() + at, static_cast<std::size_t>(world.k.width)},
                    {expected.dk.values.data() + at, static_cast<std::size_t>(world.k.width)}, DType::kF32));
  for (SequenceDeltaOutcome* outcome : {&actual, &expected})
    std::fill_n(outcome->dk.values.begin() + at, world.k.width, 0.0f);
  expect_close(world, actual, expected);
}

TEST(SequenceDelta, LongSequencesKeepTheState) {
  SequenceDeltaWorld world({1, 1, 16, 16, 1}, 9, {9, 1, 0, 1});
  world.add(4096);
  expect_close(world, world.run(1), world.run_ref());
}

// Both are one sequence, so cutting it into a document and its only question changes rounding alone.
TEST(SequenceDelta, OnlyChildContinuesItsParent) {
  SequenceDeltaWorld world(kShortDelta, 5);
  world.add(100);
  world.add_behind(70, 0);
  const Segment whole{world.segments[0].first_row, 170};
  expect_close(world, world.run(1), world.run(1, {&whole, 1}));
}

TEST(SequenceDelta, PackedSegmentsDoNotLeakAndThreadsChangeNothing) {
  SequenceDeltaWorld world({9, 3, 64, 64, 1}, 6);
  for (const std::int64_t rows : {70, 1, 128, 16}) world.add(rows);
  const SequenceDeltaOutcome together = world.run(2), by_one = world.run(1);
  EXPECT_TRUE(same_bits(together.d_bias, by_one.d_bias));
  for (const Segment& segment : world.segments) {
    const SequenceDeltaOutcome alone = world.run(3, {&segment, 1});
    EXPECT_TRUE(same_bits(alone.o.rows(segment), together.o.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dq.rows(segment), together.dq.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dk.rows(segment), together.dk.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dv.rows(segment), together.dv.rows(segment)));
    EXPECT_TRUE(same_bits(alone.dz.rows(segment), together.dz.rows(segment)));
  }
}

TEST(SequenceDelta, SiblingsDoNotSeeEachOther) {
  SequenceDeltaWorld world(kShortDelta, 7);
  const std::int32_t document = world.add(80);
  for (const std::int64_t rows : {20, 65, 3}) world.add(rows, document);
  const SequenceDeltaOutcome together = world.run(2);
  for (std::size_t child = 1; child < world.segments.size(); ++child) {
    const Segment pair[] = {world.segments[0], world.segments[child]};
    const SequenceDeltaOutcome alone = world.run(2, pair);
    EXPECT_TRUE(same_bits(alone.o.rows(pair[1]), together.o.rows(pair[1])));
    EXPECT_TRUE(same_bits(alone.dq.rows(pair[1]), together.dq.rows(pair[1])));
    EXPECT_TRUE(same_bits(alone.dz.rows(pair[1]), together.dz.rows(pair[1])));
  }
}

// sum(o * d_o) of the reference, which rounds outputs alone: they are sums of the size of 1.
double loss_of(const SequenceDeltaWorld& world) {
  const SequenceDeltaOutcome out = world.run_ref();
  double loss = 0;
  for (const Segment& segment : world.segments) {
    const std::vector<float> o = out.o.rows(segment), d_o = world.d_o.rows(segment);
    for (std::size_t j = 0; j < o.size(); ++j) loss += double{o[j]} * d_o[j];
  }
  return loss;
}

// Steps are wide, as outputs are rounded to float32: what is asked for is a formula, not its last digits.
std::vector<float> differences(SequenceDeltaWorld& world, std::vector<float>& inputs) {
  constexpr float kStep = 0x1p-7f;  // of few bits, so that no input is rounded
  std::vector<float> result;
  for (float& x : inputs) {
    const float kept = x;
    const auto at = [&](float step) {
      x = kept + step;
      return loss_of(world);
    };
    // Of fourth order.
    const double d = std::isnan(kept) ? NAN
                                      : (8 * (at(kStep) - at(-kStep)) - (at(2 * kStep) - at(-2 * kStep))) /
                                            (12 * double{kStep});
    result.push_back(static_cast<float>(d));
    x = kept;
  }
  return result;
}

class SequenceDeltaGradient : public ::testing::TestWithParam<DeltaLogits> {};

TEST_P(SequenceDeltaGradient, ReferenceEqualsCentralDifferences) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: it is about numbers alone";
  SequenceDeltaWorld world({4, 2, 3, 2, 1}, 2, GetParam());
  const std::int32_t document = world.add(5);
  for (const std::int64_t rows : {3, 1, 4}) world.add(rows, document);
  world.add(4);
  const SequenceDeltaOutcome ref = world.run_ref();
  constexpr double kRounding = 1e-3;
  const auto expect_rows = [&](const char* name, PoisonedRows& inputs, const PoisonedRows& actual) {
    const PoisonedRows expected{inputs.width, differences(world, inputs.values)};
    for (const Segment& segment : world.segments)
      EXPECT_TRUE(close(actual.rows(segment), expected.rows(segment), kRounding)) << name;
  };
  expect_rows("q", world.q, ref.dq);
  expect_rows("k", world.k, ref.dk);
  expect_rows("v", world.v, ref.dv);
  expect_rows("z", world.z, ref.dz);
  std::vector<float> expected = differences(world, world.bias);
  for (float& x : expected) x += 0.25f;
  EXPECT_TRUE(close(ref.d_bias, expected, kRounding));
}

INSTANTIATE_TEST_SUITE_P(Logits, SequenceDeltaGradient,
                         ::testing::Values(DeltaLogits{}, DeltaLogits{0, 1, 0, 1},
                                           DeltaLogits{-20, 3, 2, 3}));

}  // namespace
}  // namespace dslad::kernels
