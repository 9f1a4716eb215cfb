#include "kernels/gemm/gemm.h"

#include <array>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm/packed_matrix.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;
using testing::same_bits;

struct GemmShape {
  std::int64_t n, k;
};

PackedMatrix packed(GemmShape shape, WeightFormat format, std::uint64_t seed) {
  PackedMatrix w(shape.n, shape.k, format);
  w.pack_rows(0, shape.n, random_floats(shape.n * shape.k, seed).data());
  return w;
}

// A product with guard columns on both sides and every row that is in no block left alone.
struct GemmProblem {
  GemmProblem(GemmShape shape, WeightFormat format, std::int64_t rows)
      : w(packed(shape, format, 1)),
        ldx(shape.k + 3),
        ldy(shape.n + 5),
        x(random_floats(rows * ldx, 2)),
        y(random_floats(rows * ldy, 3)) {}

  template <typename Run>
  std::vector<float> run(const Run& gemm, std::vector<RowBlock> blocks, bool accumulate) const {
    std::vector<float> result = y;
    gemm(GemmArgs{x.data(), ldx, &w, result.data(), ldy, accumulate, blocks});
    return result;
  }
  std::vector<float> reference(std::vector<RowBlock> blocks, bool accumulate = false) const {
    return run(gemm_ref, std::move(blocks), accumulate);
  }
  std::vector<float> cpu(ThreadPool& pool, std::vector<RowBlock> blocks, bool accumulate = false) const {
    return run([&](const GemmArgs& args) { gemm_cpu(pool, args); }, std::move(blocks), accumulate);
  }
  std::vector<float> row(const std::vector<float>& result, std::int64_t index) const {
    return {result.begin() + index * ldy, result.begin() + (index + 1) * ldy};
  }

  PackedMatrix w;
  std::int64_t ldx, ldy;
  std::vector<float> x, y;
};

constexpr std::array kFormats = {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8,
                                 WeightFormat::kInt4};

std::string name_of(WeightFormat format) {
  return std::string(to_string(format));
}

class Gemm : public ::testing::TestWithParam<std::tuple<WeightFormat, GemmShape>> {
 protected:
  WeightFormat format() const { return std::get<0>(GetParam()); }
  DType type() const { return compute_type(format()); }
  GemmShape shape() const { return std::get<1>(GetParam()); }
};

TEST_P(Gemm, EqualsReference_ForDecodeAndPrefillRowsTogether) {
  const GemmProblem problem(shape(), format(), 160);
  const std::vector<RowBlock> blocks = {{0, 7, RowKind::kDecode},
                                        {9, 3, RowKind::kPrefill},
                                        {12, 128, RowKind::kPrefill},
                                        {141, 17, RowKind::kPrefill}};
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    for (const bool accumulate : {false, true}) {
      EXPECT_TRUE(close(problem.cpu(pool, blocks, accumulate), problem.reference(blocks, accumulate), type()))
          << threads << " threads, accumulate " << accumulate;
    }
  }
}

TEST_P(Gemm, LeavesRowsOutsideOfBlocksAlone) {
  const GemmProblem problem(shape(), format(), 24);
  ThreadPool pool(2);
  const std::vector<float> result = problem.cpu(pool, {{1, 1, RowKind::kDecode}, {4, 18, RowKind::kPrefill}});
  for (const std::int64_t row : {0, 2, 3, 22, 23}) {
    EXPECT_TRUE(same_bits(problem.row(result, row), problem.row(problem.y, row))) << "row " << row;
  }
}

TEST_P(Gemm, DecodeRow_IsTheSameAloneAndInAnyBlock) {
  constexpr std::int64_t kRows = 50;
  const GemmProblem problem(shape(), format(), kRows);
  ThreadPool one(1), two(2);
  std::vector<RowBlock> alone;
  for (std::int64_t row = 0; row < kRows; ++row) alone.push_back({row, 1, RowKind::kDecode});
  const std::vector<float> expected = problem.cpu(one, {alone.front()});
  const std::vector<float> each = problem.cpu(one, alone);
  EXPECT_TRUE(same_bits(problem.row(each, 0), problem.row(expected, 0)));
  for (std::int64_t rows = 1; rows <= kRows; ++rows) {
    const std::vector<float> together = problem.cpu(two, {{0, rows, RowKind::kDecode}});
    for (std::int64_t row = 0; row < rows; ++row) {
      ASSERT_TRUE(same_bits(problem.row(together, row), problem.row(each, row)))
          << "row " << row << " of " << rows;
    }
  }
}

TEST_P(Gemm, PrefillBlock_IsTheSameAloneAndBesideOthers) {
  const GemmProblem problem(shape(), format(), 230);
  ThreadPool one(1), two(2);
  const std::vector<RowBlock> blocks = {{0, 5, RowKind::kDecode},
                                        {5, 128, RowKind::kPrefill},
                                        {133, 33, RowKind::kPrefill},
                                        {170, 6, RowKind::kPrefill},
                                        {180, 48, RowKind::kPrefill}};
  const std::vector<float> together = problem.cpu(two, blocks, true);
  for (const RowBlock& block : blocks) {
    const std::vector<float> alone = problem.cpu(one, {block}, true);
    for (std::int64_t row = block.first; row < block.first + block.rows; ++row) {
      ASSERT_TRUE(same_bits(problem.row(together, row), problem.row(alone, row))) << "row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gemm,
                         ::testing::Combine(::testing::ValuesIn(kFormats),
                                            ::testing::Values(GemmShape{1, 8}, GemmShape{3, 1},
                                                              GemmShape{64, 32}, GemmShape{65, 33},
                                                              GemmShape{192, 576}, GemmShape{200, 257},
                                                              GemmShape{320, 96})),
                         [](const auto& tested) {
                           const GemmShape shape = std::get<1>(tested.param);
                           return name_of(std::get<0>(tested.param)) + "_n" + std::to_string(shape.n) + "_k" +
                                  std::to_string(shape.k);
                         });

class GemmOfType : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(GemmOfType, NotANumber_StaysInItsRow) {
  GemmProblem problem({80, 70}, GetParam(), 40);
  problem.x[static_cast<std::size_t>(20 * problem.ldx + 4)] = std::numeric_limits<float>::quiet_NaN();
  ThreadPool pool(2);
  const std::vector<RowBlock> blocks = {{0, 22, RowKind::kDecode}, {22, 18, RowKind::kPrefill}};
  const std::vector<float> result = problem.cpu(pool, blocks);
  for (std::int64_t row = 0; row < 40; ++row) {
    EXPECT_EQ(std::isnan(result[static_cast<std::size_t>(row * problem.ldy)]), row == 20) << "row " << row;
  }
}

TEST_P(GemmOfType, DenormalOperands_CountAsNearlyNothing) {
  GemmProblem problem({64, 64}, GetParam(), 32);
  for (std::size_t i = 0; i < problem.x.size(); i += 2) problem.x[i] = 1e-41f;
  ThreadPool pool(2);
  const std::vector<RowBlock> blocks = {{0, 10, RowKind::kDecode}, {10, 22, RowKind::kPrefill}};
  EXPECT_TRUE(close(problem.cpu(pool, blocks), problem.reference(blocks), compute_type(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Types, GemmOfType, ::testing::ValuesIn(kFormats),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace dslad::kernels
