// Every instruction set that this machine can run and the build holds, against the references: the other
// suites see only the best of them.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/highway.h>
// clang-format on

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <utility>
#include <vector>

#include "kernels/bias/bias.h"
#include "kernels/bias/bias_backward.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dsla/feature_map.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/operand.h"
#include "kernels/gemm/pack_lines.h"
#include "kernels/gemm/packed_matrix.h"
#include "kernels/gemm/quantized_group.h"
#include "kernels/gemm/tile_kernel.h"
#include "kernels/loss/token_loss.h"
#include "kernels/mlp/swiglu.h"
#include "kernels/mlp/swiglu_backward.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/norm/rms_norm_backward.h"
#include "kernels/rope/rope.h"
#include "kernels/sample/sample.h"
#include "tests/kernels/attention_world.h"
#include "tests/kernels/delta_world.h"
#include "tests/kernels/dsla_world.h"
#include "tests/kernels/kernel_test.h"
#include "tests/kernels/sequence_attention_world.h"
#include "tests/kernels/sequence_delta_world.h"
#include "tests/kernels/sequence_dsla_world.h"
#include "tests/kernels/window_world.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

constexpr std::int64_t kSteps = 48;

// One panel of weights and some rows of x, as packed bytes, with the products computed in double.
struct Tile {
  explicit Tile(WeightFormat of)
      : format(of), k(kSteps * step_layout(of).values), row_bytes(operand_bytes(of, k)), w(64, k, of) {
    const std::vector<float> rows = random_floats(kMaxTileRows * k, 2);
    w.pack_rows(0, 64, random_floats(64 * k, 1).data());
    x.resize(static_cast<std::size_t>(kMaxTileRows * row_bytes));
    for (std::int64_t row = 0; row < kMaxTileRows; ++row)
      pack_operand_row(rows.data() + row * k, k, k, format, x.data() + row * row_bytes);
    expected.resize(std::size_t{kMaxTileRows} * 64);
    const RowBlock all{0, kMaxTileRows, RowKind::kDecode};
    gemm_ref({rows.data(), k, &w, expected.data(), 64, false, {&all, 1}});
  }

  // Rows [first, first + rows) over the steps [0, cut) and then the rest.
  std::vector<float> run(const TileKernels& kernels, std::int64_t first, std::int64_t rows,
                         std::int64_t cut) const {
    alignas(64) std::array<float, kMaxTileRows * 64> tile;
    tile.fill(std::numeric_limits<float>::quiet_NaN());
    const auto kernel = kernels.by_rows[static_cast<std::size_t>(rows - 1)];
    const StepLayout step = step_layout(format);
    const auto args = [&](std::int64_t from, std::int64_t to) {
      return TileArgs{x.data() + first * row_bytes + from * step.row_bytes,
                      row_bytes,
                      w.panel(0) + from * step.panel_bytes,
                      to - from,
                      tile.data(),
                      from > 0,
                      w.panel(0),
                      2};
    };
    kernel(args(0, cut));
    if (cut < kSteps) kernel(args(cut, kSteps));
    return {tile.begin(), tile.begin() + rows * 64};
  }

  WeightFormat format;
  std::int64_t k, row_bytes;
  PackedMatrix w;
  std::vector<std::byte> x;
  std::vector<float> expected;
};

void expect_exact_rows(const TileKernels& kernels, WeightFormat format) {
  const Tile tile(format);
  for (std::int64_t rows = 1; rows <= kernels.most_rows; ++rows) {
    const std::vector<float> together = tile.run(kernels, 0, rows, kSteps);
    EXPECT_TRUE(close(together, {tile.expected.data(), together.size()}, DType::kF32)) << rows << " rows";
    EXPECT_TRUE(same_bits(tile.run(kernels, 0, rows, 16), together))
        << "cut at 16 steps, " << rows << " rows";
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::span<const float> of_row(together.data() + row * 64, 64);
      EXPECT_TRUE(same_bits(tile.run(kernels, row, 1, kSteps), of_row)) << "row " << row << " of " << rows;
    }
  }
}

TEST(AmxBf16Tile, EqualsReferenceForEveryRowCount) {
  if (amx_bf16_tile_kernels() == nullptr) GTEST_SKIP() << "skipped: no AMX";
  expect_exact_rows(*amx_bf16_tile_kernels(), WeightFormat::kBf16);
}

TEST(Avx512Bf16Tile, EqualsReferenceForEveryRowCount) {
  if (avx512_bf16_tile_kernels() == nullptr) GTEST_SKIP() << "skipped: no AVX-512 BF16";
  expect_exact_rows(*avx512_bf16_tile_kernels(), WeightFormat::kBf16);
}

// The sums within a group are of integers, so the instruction changes no bit.
TEST(Avx512VnniTile, EqualsReferenceAndThePortableTile) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const TileKernels* const kernels = avx512_vnni_tile_kernels(format);
    if (kernels == nullptr) GTEST_SKIP() << "skipped: no AVX-512 VNNI";
    expect_exact_rows(*kernels, format);
    const Tile tile(format);
    EXPECT_TRUE(
        same_bits(tile.run(*kernels, 0, 6, kSteps), tile.run(portable_group_kernels(format), 0, 6, kSteps)));
  }
}

class InstructionSet : public ::testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override { hwy::GetChosenTarget().Update(GetParam()); }
  void TearDown() override { hwy::GetChosenTarget().Update(hwy::SupportedTargets()); }
};

TEST_P(InstructionSet, Tile_EqualsReferenceForEveryRowCount) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16})
    expect_exact_rows(portable_tile_kernels(format), format);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4})
    expect_exact_rows(portable_group_kernels(format), format);
}

// All that a step makes of x and W, bit for bit what plain code does.
TEST_P(InstructionSet, Groups_AreQuantizedAndWidenedAlike) {
  std::vector<float> x = random_floats(3 * kGroup + 5, 3);
  std::ranges::fill(x.begin() + kGroup, x.begin() + 2 * kGroup, 0.0f);
  x[2 * kGroup + 7] = -INFINITY;
  std::vector<RowGroup> groups(4);
  quantize_row(x.data(), std::ssize(x), groups.data());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto count = std::min<std::size_t>(kGroup, x.size() - g * kGroup);
    float largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[g * kGroup + i]));
    std::int32_t sum = 0;
    for (const std::int8_t q : groups[g].q) sum += q;
    EXPECT_EQ(groups[g].sum, sum);
    EXPECT_EQ(std::isnan(groups[g].scale), g == 2);
    if (g == 2) continue;
    EXPECT_EQ(groups[g].scale, largest / 127.0f);
    for (std::size_t i = 0; i < kGroup; ++i) {
      const float q =
          largest > 0 && i < count ? std::nearbyint(x[g * kGroup + i] * (127.0f / largest)) : 0.0f;
      EXPECT_EQ(groups[g].q[i], q) << "group " << g << ", value " << i;
    }
  }
  constexpr std::int64_t kK = 3 * kGroup;
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    PackedMatrix w(64, kK, format), halves(64, kK, WeightFormat::kBf16);
    w.pack_rows(0, 64, random_floats(64 * kK, 4).data());
    std::vector<float> row(kK);
    for (std::int64_t n = 0; n < 64; ++n) {
      w.unpack_row(n, row.data());
      halves.pack_rows(n, 1, row.data());
    }
    std::vector<bf16> widened(64 * kK);
    widen_panel(w.panel(0), 3, format, widened.data());
    EXPECT_EQ(std::memcmp(widened.data(), halves.panel(0), widened.size() * sizeof(bf16)), 0);
  }
}

TEST_P(InstructionSet, Operand_RoundsAsTheStorageTypeDoes) {
  std::vector<float> x = random_floats(37, 1);
  const float special[] = {
      0.0f, -0.0f, 1e-41f, 3.4e38f, -INFINITY, INFINITY, std::bit_cast<float>(0x7f800001u)};
  std::ranges::copy(special, x.begin());
  std::vector<bf16> rounded(64, bf16{0xffff});
  pack_operand_row(x.data(), 37, 64, WeightFormat::kBf16, reinterpret_cast<std::byte*>(rounded.data()));
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    EXPECT_EQ(rounded[i].bits, i < 37 ? to_bf16(x[i]).bits : 0) << "element " << i;
  }
}

// 21 lines of 37 elements in every layout and type, padded with zeros to 24 lines, or a panel, and 40
// elements.
TEST_P(InstructionSet, Lines_ArePackedInEveryLayout) {
  constexpr std::int64_t kLines = 21, kLength = 37, kPadded = 24, kElements = 40;
  const std::vector<float> values = random_floats(kLines * kLength, 1);
  const std::vector<bf16> halves = testing::to_bf16(values);
  for (const bool transposed : {false, true}) {
    for (const auto& types : {std::pair{DType::kF32, DType::kF32}, std::pair{DType::kF32, DType::kBf16},
                              std::pair{DType::kBf16, DType::kBf16}}) {
      const DType from = types.first, to = types.second;
      const void* data = from == DType::kF32 ? static_cast<const void*>(values.data()) : halves.data();
      const Lines lines = {static_cast<const std::byte*>(data),
                           from,
                           transposed ? 1 : kLength,
                           transposed ? kLines : 1,
                           kLines,
                           kLength};
      const std::int64_t per_step = to == DType::kBf16 ? 2 : 1, steps = kElements / per_step;
      std::vector<float> as_lines = poisoned(kPadded * steps), as_panel = poisoned(64 * steps);
      pack_lines(lines, kPadded, to, steps, reinterpret_cast<std::byte*>(as_lines.data()));
      pack_panel(lines, to, steps, reinterpret_cast<std::byte*>(as_panel.data()));
      const auto packed = [&](const std::vector<float>& steps_of, std::int64_t step, std::int64_t part) {
        const float* at = steps_of.data() + step;
        return to == DType::kF32 ? *at : to_float(reinterpret_cast<const bf16*>(at)[part]);
      };
      for (std::int64_t line = 0; line < 64; ++line) {
        for (std::int64_t i = 0; i < kElements; ++i) {
          const bool inside = line < kLines && i < kLength;
          const float value = inside ? values[transposed ? i * kLines + line : line * kLength + i] : 0.0f;
          const float expected = to == DType::kF32 ? value : to_float(to_bf16(value));
          const std::int64_t step = i / per_step, part = i % per_step;
          ASSERT_EQ(packed(as_panel, step * 64 + line, part), expected) << line << ", " << i;
          if (line >= kPadded) continue;
          ASSERT_EQ(packed(as_lines, line * steps + step, part), expected) << line << ", " << i;
        }
      }
    }
  }
}

TEST_P(InstructionSet, RmsNorm_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> x = random_floats(3 * 75, 1), weight = random_floats(75, 2);
  std::vector<float> actual = poisoned(3 * 75), expected = actual;
  const auto args = [&](std::vector<float>& y) {
    return RmsNormArgs{x.data(), 75, weight.data(), y.data(), 75, 3, 75, 1e-5f};
  };
  rms_norm_ref(args(expected));
  rms_norm_cpu(pool, args(actual));
  EXPECT_TRUE(close(actual, expected, DType::kF32));
}

TEST_P(InstructionSet, Bias_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> bias = random_floats(75, 1);
  std::vector<float> actual = random_floats(3 * 75, 2), expected = actual;
  bias_ref({expected.data(), 75, bias.data(), 3, 75});
  bias_cpu(pool, {actual.data(), 75, bias.data(), 3, 75});
  EXPECT_TRUE(testing::same_bits(actual, expected));
}

TEST_P(InstructionSet, Rope_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<double> frequencies(21, 0.3);
  const RopeTable table(frequencies, 100);
  const std::vector<std::int32_t> positions = {99, 3};
  std::vector<float> actual = random_floats(2 * 2 * 42, 1), expected = actual;
  rope_ref({expected.data(), 84, positions.data(), 2, 2, &table});
  rope_cpu(pool, {actual.data(), 84, positions.data(), 2, 2, &table});
  EXPECT_TRUE(close(actual, expected, DType::kF32));
}

TEST_P(InstructionSet, SwiGlu_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> gate_up = random_floats(2 * 2 * 45, 1, 30.0f);
  std::vector<float> actual = poisoned(2 * 45), expected = actual;
  swiglu_ref({gate_up.data(), 90, expected.data(), 45, 2, 45});
  swiglu_cpu(pool, {gate_up.data(), 90, actual.data(), 45, 2, 45});
  EXPECT_TRUE(close(actual, expected, DType::kF32));
}

TEST_P(InstructionSet, RmsNormBackward_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> x = random_floats(3 * 75, 1), weight = random_floats(75, 2),
                           dy = random_floats(3 * 75, 3);
  std::vector<float> actual(3 * 75), expected = actual, d_actual(75), d_expected = d_actual;
  const auto args = [&](std::vector<float>& dx, std::vector<float>& d_weight) {
    return RmsNormBackwardArgs{x.data(), 75, weight.data(), dy.data(), 75, dx.data(), 75, d_weight.data(),
                               3,        75, 1e-5f};
  };
  rms_norm_backward_ref(args(expected, d_expected));
  rms_norm_backward_cpu(pool, args(actual, d_actual));
  EXPECT_TRUE(close(actual, expected, DType::kF32));
  EXPECT_TRUE(close(d_actual, d_expected, DType::kF32));
}

TEST_P(InstructionSet, BiasBackward_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> dy = random_floats(3 * 75, 1);
  std::vector<float> actual = random_floats(75, 2), expected = actual;
  bias_backward_ref({dy.data(), 75, expected.data(), 3, 75});
  bias_backward_cpu(pool, {dy.data(), 75, actual.data(), 3, 75});
  EXPECT_TRUE(close(actual, expected, DType::kF32));
}

TEST_P(InstructionSet, SwiGluBackward_EqualsReference) {
  ThreadPool pool(1);
  const std::vector<float> gate_up = random_floats(2 * 2 * 45, 1, 30.0f), dy = random_floats(2 * 45, 2);
  std::vector<float> actual = poisoned(2 * 90), expected = actual;
  swiglu_backward_ref({gate_up.data(), 90, dy.data(), 45, expected.data(), 90, 2, 45});
  swiglu_backward_cpu(pool, {gate_up.data(), 90, dy.data(), 45, actual.data(), 90, 2, 45});
  EXPECT_TRUE(close(actual, expected, DType::kF32));
}

TEST_P(InstructionSet, TokenLoss_EqualsReference) {
  ThreadPool pool(1);
  std::vector<float> actual = random_floats(333, 1, 3.0f), expected = actual, losses(4);
  const std::vector<float> teacher = random_floats(333, 2, 3.0f);
  const std::int32_t label = 17;
  const float scale = 0.5f;
  token_loss_ref(
      {expected.data(), teacher.data(), 333, 1, 333, &label, &scale, &scale, &losses[0], &losses[1]});
  token_loss_cpu(
      pool, {actual.data(), teacher.data(), 333, 1, 333, &label, &scale, &scale, &losses[2], &losses[3]});
  EXPECT_TRUE(close(actual, expected, DType::kF32));
  EXPECT_TRUE(close({&losses[2], 2}, {&losses[0], 2}, DType::kF32));
}

TEST_P(InstructionSet, FeatureMaps_EqualReference) {
  ThreadPool pool(1);
  const std::vector<float> x = random_floats(2 * 3 * 22, 1, 3.0f), dy = random_floats(2 * 3 * 44, 2);
  for (const FeatureMap map : {FeatureMap::kSoftmax, FeatureMap::kSoftmaxPair}) {
    const std::int64_t width = std::int64_t{3} * feature_width(map, 22);
    std::vector<float> actual = poisoned(2 * width), expected = actual;
    feature_map_ref({map, x.data(), 66, expected.data(), width, 2, 3, 22});
    feature_map_cpu(pool, {map, x.data(), 66, actual.data(), width, 2, 3, 22});
    EXPECT_TRUE(close(actual, expected, DType::kF32));
    std::vector<float> actual_dx = poisoned(2 * 3 * 22), expected_dx = actual_dx;
    feature_map_backward_ref({map, x.data(), 66, dy.data(), width, expected_dx.data(), 66, 2, 3, 22});
    feature_map_backward_cpu(pool, {map, x.data(), 66, dy.data(), width, actual_dx.data(), 66, 2, 3, 22});
    EXPECT_TRUE(close(actual_dx, expected_dx, DType::kF32));
  }
}

TEST_P(InstructionSet, Sample_EqualsReference) {
  std::vector<float> logits = random_floats(333, 1, 2.0f);
  EXPECT_EQ(sample_cpu({.logits = logits}), sample_ref({.logits = logits}));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const SampleArgs args = {logits, 0.8f, 0.9f, seed, 5};
    EXPECT_EQ(sample_cpu(args), sample_ref(args));
  }
  for (const std::size_t place : {0u, 200u, 332u}) {
    const float before = std::exchange(logits[place], std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(sample_cpu({.logits = logits}), kNoToken);
    logits[place] = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(sample_cpu({.logits = logits}), kNoToken);
    logits[place] = before;
  }
}

TEST_P(InstructionSet, Attention_MatchesReference) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const std::int64_t window : {0, 5, 77}) {
      testing::AttentionWorld world({6, 2, 22, dtype});
      world.see(window);
      for (const std::int64_t rows : {1, 20, 70}) world.add(500, rows);
      testing::AttentionWorld twin = world;
      const std::vector<float> actual = world.run(2), expected = twin.run_ref(world.pieces());
      for (const AttentionPiece& piece : world.pieces()) {
        EXPECT_TRUE(close(world.rows_of(actual, piece), world.rows_of(expected, piece), DType::kF32));
      }
    }
  }
}

// Few queries take the vectors' way over pages of pairs, too.
TEST_P(InstructionSet, Attention_OverPairs_MatchesReference) {
  for (const std::int64_t window : {0, 5, 77}) {
    testing::AttentionWorld world({6, 2, 22, DType::kBf16, true});
    world.see(window);
    for (const std::int64_t context : {0, 5, 63, 500}) world.add(context, 1 + context % 2);
    testing::AttentionWorld twin = world;
    const std::vector<float> actual = world.run(2), expected = twin.run_ref(world.pieces());
    for (const AttentionPiece& piece : world.pieces()) {
      EXPECT_TRUE(close(world.rows_of(actual, piece), world.rows_of(expected, piece), DType::kF32));
    }
  }
}

TEST_P(InstructionSet, SequenceAttention_MatchesReference) {
  testing::SequenceWorld world({6, 2, 22, 90});
  world.add(30, world.add(110));
  testing::expect_close(world.run(2), world.run_ref(), testing::tolerance(DType::kF32));
}

TEST_P(InstructionSet, WindowAttention_MatchesReferenceAndDoesNotDependOnTheCut) {
  testing::WindowWorld world({6, 2, 22, 40});
  for (const std::int64_t rows : {1, 20, 70}) world.add(50, rows);
  const testing::WindowOutcome actual = world.run(2), expected = world.run_ref();
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), DType::kF32));
  }
  EXPECT_TRUE(same_bits(world.rows_of(world.run_cut(2, {1, 33, 70}), 2), world.rows_of(actual, 2)));
}

TEST_P(InstructionSet, Dsla_MatchesReference) {
  testing::DslaWorld world({6, 2, 22, 10});
  for (const std::int64_t rows : {1, 20, 70}) world.add(rows);
  const testing::DslaOutcome actual = world.run(2), expected = world.run_ref();
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), DType::kF32));
    EXPECT_TRUE(close(actual.states[i], expected.states[i], DType::kF32));
  }
}

TEST_P(InstructionSet, SequenceDsla_MatchesReference) {
  testing::SequenceDslaWorld world({6, 2, 22, 10});
  world.add(30, world.add(110));
  testing::expect_close(world, world.run(2), world.run_ref());
}

TEST_P(InstructionSet, DeltaRule_MatchesReference) {
  testing::DeltaWorld world({6, 2, 22, 10, 1});
  for (const std::int64_t rows : {1, 20, 70}) world.add(rows);
  const testing::DslaOutcome actual = world.run(2), expected = world.run_ref();
  for (std::size_t i = 0; i < world.size(); ++i) {
    EXPECT_TRUE(close(world.rows_of(actual, i), world.rows_of(expected, i), DType::kF32));
    EXPECT_TRUE(close(actual.states[i], expected.states[i], DType::kF32));
  }
}

TEST_P(InstructionSet, SequenceDeltaRule_MatchesReference) {
  testing::SequenceDeltaWorld world({6, 2, 22, 10, 1});
  world.add(30, world.add(110));
  testing::expect_close(world, world.run(2), world.run_ref());
}

INSTANTIATE_TEST_SUITE_P(Machine, InstructionSet, ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const auto& tested) { return hwy::TargetName(tested.param); });

}  // namespace
}  // namespace dslad::kernels
