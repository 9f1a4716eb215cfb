// Which products a call is made of, and what is done before and behind each: with a plain sum for cuBLASLt.
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/gemm/cuda/gemm_blocks.cuh"
#include "tests/kernels/cuda_on_host/on_host.h"
#include "tests/kernels/cuda_on_host/plain_product.h"

namespace dslad::kernels::cuda {
namespace {

using kernels::testing::poisoned;
using kernels::testing::random_floats;
using kernels::testing::same_bits;
using testing::Executor;
using testing::in_any_order;

constexpr std::int64_t kN = 5, kK = 9, kLdx = 11, kLdy = 8;

struct Case {
  std::string name;
  std::vector<RowBlock> blocks;
  std::vector<std::int64_t> products;  // their rows
};

std::ostream& operator<<(std::ostream& out, const Case& its) {
  return out << its.name;
}

class CudaGemm : public ::testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] std::int64_t rows() const {
    const RowBlock& last = GetParam().blocks.back();
    return last.first + last.rows + 2;  // rows behind the blocks are nobody's
  }
};

// Row by row, each by itself.
std::vector<float> row_by_row(const GemmOnDevice& args, const std::vector<float>& x, std::vector<float> y) {
  for (const RowBlock& block : args.blocks) {
    for (std::int64_t row = block.first; row < block.first + block.rows; ++row) {
      std::vector<bf16> rounded(kK);
      for (std::int64_t k = 0; k < kK; ++k)
        rounded[static_cast<std::size_t>(k)] = to_bf16(x[static_cast<std::size_t>(row * kLdx + k)]);
      GemmOnDevice one = args;
      one.rounded = rounded.data();
      if (args.dtype == DType::kF32) one.rounded = const_cast<float*>(x.data() + row * kLdx);
      testing::plain_product(one, 1, y.data() + row * kLdy, kLdy, args.accumulate);
    }
  }
  return y;
}

TEST_P(CudaGemm, GivesEachRowWhatItIsAloneAndTouchesNoOther) {
  const auto& [name, blocks, products] = GetParam();
  const auto& expected = products;  // which clang lets no lambda capture
  const std::vector<float> x = random_floats(rows() * kLdx, 1), w = random_floats(kN * kK, 2),
                           before = random_floats(rows() * kLdy, 3);
  std::vector<bf16> w16(w.size());
  std::ranges::transform(w, w16.begin(), [](float value) { return to_bf16(value); });
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const bool accumulate : {false, true}) {
      std::vector<float> rounded = poisoned(gemm_product_rows(blocks) * kK), results = poisoned(64 * kN);
      const void* weights = dtype == DType::kF32 ? static_cast<const void*>(w.data()) : w16.data();
      GemmOnDevice args{x.data(),   kLdx,   weights,        dtype,         kN, kK, nullptr, kLdy,
                        accumulate, blocks, rounded.data(), results.data()};
      const std::vector<float> y = in_any_order([&](Executor& executor) {
        std::vector<float> out = before;
        std::vector<std::int64_t> asked;
        args.y = out.data();
        gemm_by_blocks(executor, args, [&](std::int64_t m, float* to, std::int64_t ldy, bool adds) {
          asked.push_back(m);
          testing::plain_product(args, m, to, ldy, adds);
          return true;
        });
        EXPECT_EQ(asked, expected);
        return out;
      });
      EXPECT_TRUE(same_bits(y, row_by_row(args, x, before)));
    }
  }
}

TEST_P(CudaGemm, QueuesNothingBehindAProductThatWasNotPossible) {
  const std::vector<RowBlock>& blocks = GetParam().blocks;
  testing::Launched launched;
  GemmOnDevice args{};
  args.blocks = blocks;
  int asked = 0;
  gemm_by_blocks(launched, args, [&](auto...) { return ++asked < 1; });
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(launched.all(), 1) << "the rows that were rounded for it";
}

constexpr RowKind kDecodes = RowKind::kDecode, kPrompts = RowKind::kPrefill;

INSTANTIATE_TEST_SUITE_P(
    Blocks, CudaGemm,
    ::testing::Values(Case{"one", {{0, 1, kDecodes}}, {64}}, Case{"few", {{3, 63, kDecodes}}, {64}},
                      Case{"full", {{0, 64, kDecodes}}, {64}}, Case{"more", {{0, 65, kDecodes}}, {64, 64}},
                      Case{"many", {{1, 130, kDecodes}}, {64, 64, 64}},
                      Case{"prompt", {{0, 5, kPrompts}, {5, 1, kPrompts}}, {5, 1}},
                      Case{"long_prompt", {{2, kMostBlockRows + 3, kPrompts}}, {kMostBlockRows, 3}},
                      Case{"both", {{0, 2, kDecodes}, {4, 70, kPrompts}, {80, 1, kDecodes}}, {64, 70, 64}}),
    [](const auto& its) { return its.param.name; });

}  // namespace
}  // namespace dslad::kernels::cuda
