#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/norm/rms_norm.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

struct Case {
  std::int64_t rows, width, gap;  // gap: floats between a row's end and the next row
};

class RmsNorm : public ::testing::TestWithParam<Case> {
 protected:
  std::int64_t stride() const { return GetParam().width + GetParam().gap; }
  RmsNormArgs args(const std::vector<float>& input, std::vector<float>& y) const {
    return {input.data(), stride(),        weight.data(),    y.data(),
            stride(),     GetParam().rows, GetParam().width, 1e-5f};
  }
  std::vector<float> weight = random_floats(GetParam().width, 1);
  std::vector<float> x = random_floats(GetParam().rows * stride(), 2, 3.0f);
};

TEST_P(RmsNorm, EqualsReference) {
  std::vector<float> expected(x.size(), 0.0f);
  rms_norm_ref(args(x, expected));
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    std::vector<float> actual = poisoned(static_cast<std::int64_t>(x.size()));
    rms_norm_cpu(pool, args(x, actual));
    for (std::int64_t row = 0; row < GetParam().rows; ++row) {
      const auto first = static_cast<std::size_t>(row * stride()),
                 count = static_cast<std::size_t>(GetParam().width);
      EXPECT_TRUE(close({actual.data() + first, count}, {expected.data() + first, count}, DType::kF32));
      for (std::size_t i = first + count; i < static_cast<std::size_t>((row + 1) * stride()); ++i) {
        EXPECT_TRUE(std::isnan(actual[i])) << "wrote between rows, at " << i;
      }
    }
  }
}

TEST_P(RmsNorm, InPlace_EqualsOutOfPlace) {
  ThreadPool pool(2);
  std::vector<float> expected = x, actual = x;
  rms_norm_cpu(pool, args(x, expected));
  rms_norm_cpu(pool, args(actual, actual));
  EXPECT_TRUE(same_bits(actual, expected));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNorm,
                         ::testing::Values(Case{1, 1, 0}, Case{1, 8, 0}, Case{3, 13, 2}, Case{2, 576, 0},
                                           Case{70, 576, 1}, Case{33, 2048, 64}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

TEST(RmsNormOfZeros, IsZero) {
  ThreadPool pool(1);
  const std::vector<float> x(16, 0.0f), weight(16, 1.0f);
  std::vector<float> y = poisoned(16);
  rms_norm_cpu(pool, {x.data(), 16, weight.data(), y.data(), 16, 1, 16, 1e-6f});
  EXPECT_TRUE(same_bits(y, x));
}

}  // namespace
}  // namespace dslad::kernels
