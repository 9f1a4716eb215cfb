#include "kernels/attention/cuda/attention.cuh"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/attention_world.h"
#include "tests/kernels/cuda_on_host/on_host.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::AttentionShape;
using kernels::testing::AttentionWorld;
using kernels::testing::close;
using kernels::testing::poisoned;
using kernels::testing::same_bits;
using testing::Executor;
using testing::in_any_order;
using testing::kBf16Tolerance;
using testing::kFloatTolerance;

constexpr AttentionShape kSmallAttention{6, 2, 16, DType::kF32};
constexpr int kPages = 60;  // worlds are copied

// Limits are the pieces' own, and more by `slack`.
std::vector<float> attend(AttentionWorld& world, std::span<const AttentionPiece> pieces, Executor& executor,
                          std::int64_t slack = 0) {
  return world.run_by(
      [&](const AttentionArgs& args) {
        std::int64_t rows = 1 + slack, tokens = 1 + slack;
        for (const AttentionPiece& piece : args.pieces) {
          rows = std::max(rows, piece.rows + slack);
          tokens = std::max(tokens, piece.context + piece.rows + slack);
        }
        const std::int64_t at_once = std::min<std::int64_t>(std::ssize(args.pieces), 3);
        const std::size_t bytes = attention_workspace_bytes(args.n_heads, args.layout.head_dim, at_once,
                                                            most_partitions(args, tokens));
        std::vector<float> workspace = poisoned(static_cast<std::int64_t>(bytes / sizeof(float)));
        attention(executor, {args, rows, tokens, workspace.data(), std::ssize(args.pieces), at_once});
      },
      pieces);
}
std::vector<float> attend(AttentionWorld& world) {
  Executor executor;
  return attend(world, world.pieces(), executor);
}

void expect_like_reference(AttentionWorld world, double tolerance) {
  AttentionWorld twin = world;
  const std::vector<float> expected = twin.run_ref(world.pieces());
  const std::vector<float> actual = in_any_order([&](Executor& executor) {
    AttentionWorld copy = world;
    std::vector<float> o = attend(copy, world.pieces(), executor);
    EXPECT_EQ(copy.pool(), twin.pool()) << "keys and values are cached where the layout says, nothing else";
    return o;
  });
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(close(world.rows_of(actual, piece), world.rows_of(expected, piece), tolerance))
        << "piece of " << piece.rows << " rows after " << piece.context << " tokens";
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(std::isnan(actual[i]), std::isnan(expected[i])) << "element " << i << " is in no piece";
  }
}

double tolerance_of(const AttentionShape& shape) {
  return shape.dtype == DType::kF32 ? kFloatTolerance : kBf16Tolerance;
}

class CudaAttentionShapes : public ::testing::TestWithParam<AttentionShape> {};

// Decode is float32 whatever the pages are: it has the keys as they are.
TEST_P(CudaAttentionShapes, DecodeMatchesReference) {
  AttentionWorld world(GetParam(), 1, kPages);
  for (const std::int64_t context : {0, 63, 512, 700}) world.add(context, 1);
  expect_like_reference(world, kFloatTolerance);
}

TEST_P(CudaAttentionShapes, MixedStepMatchesReference) {
  AttentionWorld world(GetParam(), 2, kPages);
  world.add(70, 1);
  world.add(0, 35);
  world.add(61, 5);
  expect_like_reference(world, tolerance_of(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(
    HeadSizesAndGroups, CudaAttentionShapes,
    ::testing::Values(AttentionShape{1, 1, 8, DType::kF32}, AttentionShape{6, 2, 10, DType::kBf16},
                      AttentionShape{5, 1, 22, DType::kF32}, AttentionShape{9, 3, 64, DType::kBf16},
                      AttentionShape{3, 1, 96, DType::kF32}, AttentionShape{4, 4, 80, DType::kBf16},
                      AttentionShape{19, 1, 12, DType::kBf16}, AttentionShape{8, 1, 128, DType::kBf16},
                      AttentionShape{2, 1, 256, DType::kBf16}, AttentionShape{1, 1, 254, DType::kF32}),
    [](const auto& test) {
      const AttentionShape& s = test.param;
      return fmt::format("h{}kv{}d{}{}", s.n_heads, s.n_kv, s.d, s.dtype == DType::kF32 ? "f32" : "bf16");
    });

// Windows that end at, before and behind the borders of tiles (32, 64), pages and partitions.
class CudaAttentionWindows : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(CudaAttentionWindows, MixedStepMatchesReference) {
  for (const AttentionShape shape : {kSmallAttention, AttentionShape{6, 2, 10, DType::kBf16}}) {
    AttentionWorld world(shape, 3, kPages);
    world.see(GetParam());
    for (const std::int64_t context : {0, 64, 575, 1100}) world.add(context, 1);
    world.add(0, 70);
    world.add(495, 20);
    expect_like_reference(world, tolerance_of(shape));
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, CudaAttentionWindows, ::testing::Values(1, 31, 64, 65, 512, 5000));

TEST(CudaAttention, ARowIsTheSameAloneAndInAnyStep) {
  AttentionWorld world({6, 2, 32, DType::kBf16});
  for (const std::int64_t context : {0, 100, 900}) world.add(context, 1);
  world.add(0, 40);
  world.add(200, 50);
  AttentionWorld twin = world;
  const std::vector<float> together = attend(twin);
  for (const AttentionPiece& piece : world.pieces()) {
    Executor executor;
    EXPECT_TRUE(same_bits(world.rows_of(attend(world, {&piece, 1}, executor, 777), piece),
                          world.rows_of(together, piece)))
        << "alone and with other limits";
  }
}

// Where keys are visited from does not show, so prompts may be cut anywhere but before a lone row, which is
// decode's.
TEST(CudaAttention, PiecesOfSeveralRows_AreTheSameForAnyCut) {
  AttentionWorld world({6, 2, 32, DType::kBf16}), twin = world;
  world.add(0, 75);
  twin.add(0, 75);
  const AttentionPiece whole = world.pieces()[0];
  std::vector<float> in_pieces;
  std::int64_t begin = 0;
  for (const std::int64_t end : {2, 40, 64, 75}) {
    const AttentionPiece piece{whole.first_row + begin, end - begin, begin, twin.pieces()[0].pages};
    Executor executor;
    const std::vector<float> rows = twin.rows_of(attend(twin, {&piece, 1}, executor), piece);
    in_pieces.insert(in_pieces.end(), rows.begin(), rows.end());
    begin = end;
  }
  EXPECT_TRUE(same_bits(in_pieces, world.rows_of(attend(world), whole)));
  EXPECT_EQ(twin.pool(), world.pool());
}

// As a device takes them; counted, not run.
TEST(CudaAttention, GridsTakePiecesOfMillionsOfRows) {
  const std::vector<AttentionPiece> pieces(3);
  AttentionArgs args{};
  args.n_heads = 8;
  args.layout.n_kv = 1;
  args.layout.head_dim = 64;
  args.pieces = pieces;
  constexpr std::int64_t kRows = std::int64_t{1} << 23;
  const AttentionOnDevice step{args, kRows, kRows, nullptr};
  for (const Grid& grid : {AppendKv<bf16>::grid(step), AttendTile<bf16, 64>::grid(step)}) {
    EXPECT_LE(grid.y, 65535);
    EXPECT_LE(grid.z, 65535);
    EXPECT_EQ(grid.x % 3, 0);
  }
  EXPECT_EQ((AttendTile<bf16, 64>::grid(step).x), 3 * kRows * 8 / 64);
}

TEST(CudaAttention, SilentRowsOnlyFillTheCache) {
  constexpr std::int64_t kRows = 45;
  for (const std::int64_t silent : {std::int64_t{1}, std::int64_t{22}, kRows}) {
    AttentionWorld world({6, 2, 32, DType::kBf16}), twin = world;
    world.add(100, kRows);
    twin.add(100, kRows);
    AttentionPiece piece = world.pieces()[0];
    piece.silent = silent;
    Executor executor;
    const std::vector<float> o = attend(world, {&piece, 1}, executor), all = attend(twin);
    EXPECT_EQ(world.pool(), twin.pool());
    for (std::int64_t r = 0; r < kRows; ++r) {
      const AttentionPiece row{piece.first_row + r, 1, 0, nullptr};
      if (r >= silent) {
        EXPECT_TRUE(same_bits(world.rows_of(o, row), twin.rows_of(all, row))) << "row " << r;
      } else {
        EXPECT_TRUE(std::ranges::all_of(world.rows_of(o, row), [](float x) { return std::isnan(x); }))
            << "row " << r;
      }
    }
  }
}

TEST(CudaAttention, SequencesMaySharePages) {
  AttentionWorld world(kSmallAttention);
  const std::size_t document = world.add(128, 1);
  const std::vector<std::int32_t> prefix(world.pages(document).begin(), world.pages(document).begin() + 2);
  world.add(128, 7, prefix);
  world.add(128, 1, prefix);
  expect_like_reference(world, kFloatTolerance);
}

TEST(CudaAttention, StaleSlotsNeverCount) {
  AttentionWorld world(kSmallAttention);
  world.add(70, 1);
  world.add(100, 3);
  AttentionWorld stale = world;
  constexpr std::uint32_t kPoison = 0xffffffff;
  const float large = 8e37f;
  for (std::size_t i = 0; i < stale.pool().size(); i += 4) {
    if (std::memcmp(&stale.pool()[i], &kPoison, 4) == 0) std::memcpy(&stale.pool()[i], &large, 4);
  }
  const std::vector<float> clean = attend(world), dirty = attend(stale);
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(same_bits(world.rows_of(dirty, piece), world.rows_of(clean, piece)));
  }
}

TEST(CudaAttention, ExtremeScoresStayFinite) {
  AttentionWorld world({4, 2, 16, DType::kF32});
  world.add(600, 1, {}, 3000.0f);
  world.add(0, 50, {}, 3000.0f);
  const std::vector<float> o = attend(world);
  for (const AttentionPiece& piece : world.pieces()) {
    EXPECT_TRUE(std::ranges::all_of(world.rows_of(o, piece), [](float x) { return std::isfinite(x); }));
  }
}

TEST(CudaAttention, KernelsThatDecodeAreLaunchedForPiecesThatDo) {
  const std::vector<AttentionPiece> pieces(5);
  AttentionOnDevice step{};
  step.args.n_heads = 4;
  step.args.layout = {DType::kF32, 2, 16};
  step.args.pieces = pieces;
  step.most_rows = 3;
  step.most_tokens = kPartitionTokens;
  testing::Launched of_prompts, of_all;
  attention(of_prompts, step);
  EXPECT_EQ(of_prompts.count<AppendKv<float>>(), 1);
  EXPECT_EQ((of_prompts.count<AttendTile<float, 64>>()), 1);
  EXPECT_EQ(of_prompts.all(), 2);
  step.decoding = 5;
  step.at_once = 2;
  attention(of_all, step);
  EXPECT_EQ((of_all.count<AttendPartition<float, 2>>()), 3) << "turns at the workspace";
  EXPECT_EQ(of_all.count<MergePartitions>(), 3);
  EXPECT_EQ((of_all.count<AttendTile<float, 64>>()), 1);
}

// What one backend takes for its limits is enough for all below them.
TEST(CudaAttention, FewerPiecesAndTokensNeedNoMoreWorkspace) {
  constexpr int kHeads = 32, kWidth = 128;
  for (const std::int64_t most : {1, 3, 60, 256, 3000}) {
    const std::size_t room = most_attention_workspace_bytes(kHeads, kWidth, 64, most);
    for (std::int64_t partitions = 1; partitions <= most; partitions = 2 * partitions + 1) {
      for (const std::int64_t pieces : {1, 2, 7, 64}) {
        const std::int64_t at_once = pieces_at_once(kHeads, kWidth, pieces, partitions);
        EXPECT_LE(attention_workspace_bytes(kHeads, kWidth, at_once, partitions), room)
            << pieces << " of " << partitions << " where " << most << " may be";
      }
    }
  }
}

}  // namespace
}  // namespace dslad::kernels::cuda
