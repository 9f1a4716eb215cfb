#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/aligned_buffer.h"
#include "tests/kernels/attention_world.h"

namespace dslad::kernels {
namespace {

using testing::AttentionShape;
using testing::AttentionWorld;
using testing::close;
using testing::kTolerance;
using testing::same_bits;

// Both page types are compared with a reference that uses the same rounded keys: float32 accuracy.

constexpr AttentionShape kSmallAttention{6, 2, 16, DType::kF32};

// bf16 pages as this machine likes them best.
AttentionShape favoured(AttentionShape shape) {
  shape.pairs = layout_for_attention_cpu({shape.dtype, shape.n_kv, shape.d}).pairs;
  return shape;
}

const AttentionShape kFavoured = favoured({6, 2, 32, DType::kBf16});

// Rows that no piece owns must still be poison: only the pieces' rows are compared.
void expect_pieces_close(const AttentionWorld& world, const std::vector<float>& actual,
                         const std::vector<float>& expected) {
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(close(world.rows_of(actual, piece), world.rows_of(expected, piece), kTolerance))
        << "piece of " << piece.rows << " rows after " << piece.context << " tokens";
  }
}

// Whether attention_cpu takes such pages on this machine.
bool serves(const AttentionShape& shape) {
  return !shape.pairs || layout_for_attention_cpu({shape.dtype, shape.n_kv, shape.d}).pairs;
}

constexpr const char* kNoPairs = "skipped: no AMX, so pages have no pairs";

class AttentionShapes : public ::testing::TestWithParam<AttentionShape> {};

TEST_P(AttentionShapes, MixedStepMatchesReference) {
  if (!serves(GetParam())) GTEST_SKIP() << kNoPairs;
  AttentionWorld world(GetParam());
  for (const std::int64_t context : {0, 1, 63, 64, 511, 512, 700, 1100}) world.add(context, 1);
  world.add(0, 70);
  world.add(30, 5);
  world.add(490, 37);
  AttentionWorld twin = world;
  const std::vector<float> expected = twin.run_ref(world.pieces());
  const std::vector<float> actual = world.run(2);
  expect_pieces_close(world, actual, expected);
  EXPECT_EQ(world.pool(), twin.pool()) << "keys and values are cached where the layout says, nothing else";
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << "element " << i << " is in no piece";
  }
}

INSTANTIATE_TEST_SUITE_P(
    HeadSizesAndGroups, AttentionShapes,
    ::testing::Values(
        AttentionShape{1, 1, 8, DType::kF32}, AttentionShape{1, 1, 8, DType::kBf16},
        AttentionShape{6, 2, 10, DType::kBf16}, AttentionShape{5, 1, 22, DType::kF32},
        AttentionShape{9, 3, 64, DType::kBf16}, AttentionShape{9, 3, 64, DType::kF32},
        AttentionShape{4, 4, 80, DType::kBf16}, AttentionShape{7, 1, 96, DType::kF32},
        AttentionShape{71, 1, 12, DType::kBf16}, AttentionShape{32, 4, 64, DType::kBf16},
        AttentionShape{2, 1, 128, DType::kBf16}, AttentionShape{4, 2, 256, DType::kBf16},
        AttentionShape{3, 1, 254, DType::kF32}, AttentionShape{1, 1, 32, DType::kBf16, true},
        AttentionShape{6, 2, 32, DType::kBf16, true}, AttentionShape{9, 3, 64, DType::kBf16, true},
        AttentionShape{20, 1, 64, DType::kBf16, true}, AttentionShape{71, 1, 96, DType::kBf16, true},
        AttentionShape{32, 4, 128, DType::kBf16, true}, AttentionShape{4, 2, 256, DType::kBf16, true}),
    [](const auto& test) {
      const AttentionShape& s = test.param;
      return fmt::format("h{}kv{}d{}{}{}", s.n_heads, s.n_kv, s.d, s.dtype == DType::kF32 ? "f32" : "bf16",
                         s.pairs ? "pairs" : "");
    });

// Softmax attention of row r of a piece that starts its sequence, from the unpaged inputs.
std::vector<double> plain_softmax(const AttentionWorld& world, const AttentionPiece& piece, std::int64_t r,
                                  int head, int group, int d, std::int64_t window = 1 << 30) {
  std::vector<double> weights, o(static_cast<std::size_t>(d));
  const std::int64_t oldest = std::max<std::int64_t>(0, r - window + 1);
  double sum = 0;
  for (std::int64_t u = oldest; u <= r; ++u) {
    double score = 0;
    for (int j = 0; j < d; ++j) {
      score += double{world.q()[(piece.first_row + r) * world.q_stride() + head * d + j]} *
               world.k()[(piece.first_row + u) * world.kv_stride() + head / group * d + j];
    }
    sum += weights.emplace_back(std::exp(score * world.scale()));
  }
  for (std::int64_t u = oldest; u <= r; ++u) {
    for (int j = 0; j < d; ++j) {
      o[j] += weights[u - oldest] / sum *
              world.v()[(piece.first_row + u) * world.kv_stride() + head / group * d + j];
    }
  }
  return o;
}

TEST(AttentionRef, EqualsPlainSoftmaxOverUnpagedKeys) {
  AttentionWorld world(kSmallAttention);
  world.add(0, 130);
  const AttentionPiece& piece = world.pieces()[0];
  const std::vector<float> actual = world.rows_of(world.run_ref(), piece);
  std::vector<float> expected;
  for (std::int64_t r = 0; r < piece.rows; ++r) {
    for (int head = 0; head < kSmallAttention.n_heads; ++head) {
      const auto o = plain_softmax(world, piece, r, head, kSmallAttention.n_heads / kSmallAttention.n_kv,
                                   kSmallAttention.d);
      expected.insert(expected.end(), o.begin(), o.end());
    }
  }
  EXPECT_TRUE(close(actual, expected, 1e-6));
}

// The latest tokens, from the unpaged inputs.
TEST(AttentionRef, WithAWindow_EqualsPlainSoftmaxOverTheLatestKeys) {
  for (const std::int64_t window : {1, 2, 63, 64, 65, 130, 1000}) {
    AttentionWorld world(kSmallAttention);
    world.see(window);
    world.add(0, 130);
    const AttentionPiece& piece = world.pieces()[0];
    const std::vector<float> actual = world.rows_of(world.run_ref(), piece);
    std::vector<float> expected;
    for (std::int64_t r = 0; r < piece.rows; ++r) {
      for (int head = 0; head < kSmallAttention.n_heads; ++head) {
        const auto o = plain_softmax(world, piece, r, head, kSmallAttention.n_heads / kSmallAttention.n_kv,
                                     kSmallAttention.d, window);
        expected.insert(expected.end(), o.begin(), o.end());
      }
    }
    EXPECT_TRUE(close(actual, expected, 1e-6)) << "window of " << window;
  }
}

// The pieces that one piece of `rows` rows from an empty cache falls into when cut at `cuts`.
std::vector<AttentionPiece> cut(const AttentionPiece& whole, const std::vector<std::int64_t>& cuts) {
  std::vector<AttentionPiece> pieces;
  std::int64_t begin = 0;
  for (const std::int64_t end : cuts) {
    pieces.push_back({whole.first_row + begin, end - begin, begin, whole.pages});
    begin = end;
  }
  return pieces;
}

void expect_cut_equals_whole(const std::vector<std::int64_t>& cuts, std::int64_t window = 0,
                             bool pairs = false) {
  AttentionWorld world({6, 2, 32, DType::kBf16, pairs});
  world.see(window);
  AttentionWorld twin = world;
  world.add(0, cuts.back());
  twin.add(0, cuts.back());
  const AttentionPiece whole = world.pieces()[0];
  ThreadPool pool(2);
  const std::vector<float> at_once = world.run(2);
  std::vector<float> in_pieces;
  for (const AttentionPiece& piece : cut(whole, cuts)) {
    const std::vector<float> rows = twin.rows_of(twin.run(pool, {&piece, 1}), piece);
    in_pieces.insert(in_pieces.end(), rows.begin(), rows.end());
  }
  EXPECT_TRUE(same_bits(in_pieces, world.rows_of(at_once, whole)));
  EXPECT_EQ(twin.pool(), world.pool());
}

// Windows that end at, before and behind the borders of pages (64) and partitions (512), or see everything.
class AttentionWindows : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(AttentionWindows, MixedStepMatchesReference) {
  for (const AttentionShape shape : {kSmallAttention, AttentionShape{6, 2, 10, DType::kBf16},
                                     AttentionShape{6, 2, 32, DType::kBf16, true}}) {
    if (!serves(shape)) continue;
    AttentionWorld world(shape);
    world.see(GetParam());
    for (const std::int64_t context : {0, 1, 62, 63, 64, 65, 511, 512, 574, 575, 576, 1100})
      world.add(context, 1);
    world.add(0, 70);
    world.add(490, 37);
    world.add(1000, 128);
    AttentionWorld twin = world;
    const std::vector<float> expected = twin.run_ref(world.pieces());
    const std::vector<float> actual = world.run(2);
    expect_pieces_close(world, actual, expected);
    EXPECT_EQ(world.pool(), twin.pool());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << "element " << i << " is in no piece";
    }
  }
}

TEST_P(AttentionWindows, ResultsDoNotDependOnThreadsOrOtherPieces) {
  AttentionWorld world(kFavoured);
  world.see(GetParam());
  for (const std::int64_t context : {5, 600, 2100}) world.add(context, 1);
  world.add(450, 128);
  const std::vector<float> one = world.run(1);
  EXPECT_TRUE(same_bits(world.run(3), one));
  ThreadPool pool(2);
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(same_bits(world.rows_of(world.run(pool, {&piece, 1}), piece), world.rows_of(one, piece)));
  }
}

TEST_P(AttentionWindows, PrefillInPiecesAndTokenByTokenEqualPrefillAtOnce) {
  expect_cut_equals_whole({1, 64, 100, 228, 500, 530, 640}, GetParam());
  std::vector<std::int64_t> cuts(700);
  std::iota(cuts.begin(), cuts.end(), 1);
  expect_cut_equals_whole(cuts, GetParam());
  if (kFavoured.pairs) expect_cut_equals_whole({4, 64, 100, 228, 500, 530, 640}, GetParam(), true);
}

// What has left the window is not looked at: its pages may hold anything.
TEST_P(AttentionWindows, PagesBeforeTheWindowNeverCount) {
  AttentionWorld world({6, 2, 32, DType::kF32});
  world.see(GetParam());
  world.add(1100, 1);
  AttentionWorld stale = world;
  const std::int64_t oldest = std::max<std::int64_t>(0, 1101 - GetParam());
  for (std::int64_t page = 0; page < oldest / kPageTokens; ++page) {
    const auto number = static_cast<std::size_t>(world.pages(0)[static_cast<std::size_t>(page)]);
    std::fill_n(stale.pool().begin() + static_cast<std::ptrdiff_t>(number * world.layout().page_bytes()),
                world.layout().page_bytes(), std::byte{0xff});
  }
  ThreadPool pool(1);
  const AttentionPiece& piece = world.pieces()[0];
  EXPECT_TRUE(same_bits(world.rows_of(stale.run(pool, {&piece, 1}), piece),
                        world.rows_of(world.run(pool, {&piece, 1}), piece)));
}

INSTANTIATE_TEST_SUITE_P(Borders, AttentionWindows, ::testing::Values(1, 7, 63, 64, 65, 512, 513, 5000));

TEST(Attention, ResultsDoNotDependOnThreads) {
  AttentionWorld world(favoured({9, 3, 64, DType::kBf16}));
  for (const std::int64_t context : {5, 600, 2100}) world.add(context, 1);
  world.add(300, 64);
  const std::vector<float> one = world.run(1);
  EXPECT_TRUE(same_bits(world.run(2), one));
  EXPECT_TRUE(same_bits(world.run(5), one));
}

TEST(Attention, ResultsDoNotDependOnOtherPieces) {
  AttentionWorld world(favoured({9, 3, 64, DType::kBf16}));
  for (const std::int64_t context : {5, 600, 2100}) world.add(context, 1);
  world.add(300, 64);
  const std::vector<float> together = world.run(2);
  ThreadPool pool(2);
  for (const AttentionPiece& piece : world.pieces()) {
    const std::vector<float> alone = world.run(pool, {&piece, 1});
    EXPECT_TRUE(same_bits(world.rows_of(alone, piece), world.rows_of(together, piece)));
  }
}

TEST(Attention, PrefillInPiecesEqualsPrefillAtOnce) {
  expect_cut_equals_whole({1, 64, 100, 228, 500, 530});
  if (kFavoured.pairs) expect_cut_equals_whole({4, 64, 100, 228, 500, 530}, 0, true);
}

TEST(Attention, TokenByTokenEqualsPrefillAtOnce) {
  std::vector<std::int64_t> cuts(150);
  std::iota(cuts.begin(), cuts.end(), 1);
  expect_cut_equals_whole(cuts);
}

// A silent row leaves its key and value behind and nothing else; the others' results do not show how many
// there are.
TEST(Attention, SilentRowsOnlyFillTheCache) {
  constexpr std::int64_t kRows = 130;
  for (const std::int64_t silent : {std::int64_t{1}, std::int64_t{47}, std::int64_t{129}, kRows}) {
    SCOPED_TRACE(silent);
    AttentionWorld world(kFavoured), twin = world;
    world.add(600, kRows);
    twin.add(600, kRows);
    AttentionPiece piece = world.pieces()[0];
    piece.silent = silent;
    ThreadPool pool(2);
    const std::vector<float> o = world.run(pool, {&piece, 1});
    const std::vector<float> all = twin.run(2);
    EXPECT_EQ(world.pool(), twin.pool());
    for (std::int64_t r = 0; r < kRows; ++r) {
      const AttentionPiece row{piece.first_row + r, 1, 0, nullptr};
      const std::vector<float> actual = world.rows_of(o, row);
      if (r >= silent) {
        EXPECT_TRUE(same_bits(actual, twin.rows_of(all, row))) << "row " << r;
      } else {
        EXPECT_TRUE(std::ranges::all_of(actual, [](float x) { return std::isnan(x); })) << "row " << r;
      }
    }
    const std::vector<float> expected = world.run_ref({&piece, 1});
    for (std::size_t i = 0; i < o.size(); ++i) ASSERT_EQ(std::isnan(o[i]), std::isnan(expected[i])) << i;
  }
}

TEST(Attention, SequencesMaySharePages) {
  AttentionWorld world({6, 2, 32, DType::kF32});
  const std::size_t document = world.add(192, 1);
  const std::vector<std::int32_t> prefix(world.pages(document).begin(), world.pages(document).begin() + 3);
  world.add(192, 7, prefix);
  world.add(192, 1, prefix);
  AttentionWorld twin = world;
  expect_pieces_close(world, world.run(2), twin.run_ref(world.pieces()));
  EXPECT_EQ(world.pool(), twin.pool());
}

TEST(Attention, StaleSlotsNeverCount) {
  AttentionWorld world({6, 2, 32, DType::kF32});
  world.add(70, 1);
  world.add(600, 3);
  AttentionWorld stale = world;
  constexpr std::uint32_t kPoison = 0xffffffff;
  const float large = 8e37f;
  for (std::size_t i = 0; i < stale.pool().size(); i += 4) {
    if (std::memcmp(&stale.pool()[i], &kPoison, 4) == 0) std::memcpy(&stale.pool()[i], &large, 4);
  }
  const std::vector<float> clean = world.run(1);
  ThreadPool pool(1);
  const std::vector<float> dirty = stale.run(pool, world.pieces());
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(same_bits(world.rows_of(dirty, piece), world.rows_of(clean, piece)));
  }
}

TEST(Attention, LongContextMatchesReference) {
  AttentionWorld world(favoured({3, 1, 64, DType::kBf16}));
  world.add(4096, 1);
  world.add(4000, 20);
  AttentionWorld twin = world;
  expect_pieces_close(world, world.run(2), twin.run_ref(world.pieces()));
}

TEST(Attention, ExtremeScoresStayFinite) {
  for (const AttentionShape shape : {AttentionShape{4, 2, 16, DType::kF32}, kFavoured}) {
    AttentionWorld world(shape);
    world.add(1000, 1, {}, 3000.0f);
    world.add(0, 90, {}, 3000.0f);
    AttentionWorld twin = world;
    expect_pieces_close(world, world.run(2), twin.run_ref(world.pieces()));
  }
}

// Scores that rise from page to page, so that a row's sums are scaled anew all along, by a little and by
// much.
TEST(Attention, RisingScoresMatchReference) {
  for (const float step : {0.01f, 0.1f, 0.7f}) {
    AttentionWorld world(kFavoured);
    world.add(0, 700);
    world.raise_keys(step);
    AttentionWorld twin = world;
    expect_pieces_close(world, world.run(2), twin.run_ref(world.pieces()));
  }
}

TEST(Attention, ReachesPagesBeyondTwoGibibytes) {
  const KvLayout layout{DType::kF32, 2, 256};
  const std::int32_t far_page = 9000;
  const AlignedBuffer memory = allocate_aligned((far_page + 1) * layout.page_bytes());
  ASSERT_NE(memory, nullptr);
  const std::vector<float> x = testing::random_floats(512, 7);
  std::vector<float> o = testing::poisoned(512);
  const AttentionPiece piece{0, 1, 0, &far_page};
  ThreadPool pool(1);
  attention_cpu(
      pool,
      {x.data(), 512, x.data(), x.data(), 512, o.data(), 512, 2, 1.0f, memory.get(), layout, {&piece, 1}});
  EXPECT_TRUE(close(o, x, kTolerance)) << "a lone token attends to itself";
}

}  // namespace
}  // namespace dslad::kernels
