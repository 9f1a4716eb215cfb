#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/norm/rms_norm_backward.h"
#include "tests/kernels/finite_differences.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::central_differences;
using testing::close;
using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

struct RmsNormCase {
  std::int64_t rows, width, gap;  // gap: floats between a row's end and the next row
};

class RmsNorm : public ::testing::TestWithParam<RmsNormCase> {
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
                         ::testing::Values(RmsNormCase{1, 1, 0}, RmsNormCase{1, 8, 0}, RmsNormCase{3, 13, 2},
                                           RmsNormCase{2, 576, 0}, RmsNormCase{70, 576, 1},
                                           RmsNormCase{33, 2048, 64}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

TEST(RmsNormByGroups, EqualsReferenceAndEachGroupAlone) {
  constexpr std::int64_t kRows = 37, kGroups = 5, kWidth = 20, kStride = kGroups * kWidth + 7;
  const std::vector<float> x = random_floats(kRows * kStride, 2, 3.0f), weight = random_floats(kWidth, 1);
  const auto args = [&](std::vector<float>& y) {
    return RmsNormArgs{x.data(), kStride, weight.data(), y.data(), kStride, kRows, kWidth, 1e-5f, kGroups};
  };
  std::vector<float> expected = x, actual = x, alone = x;
  rms_norm_ref(args(expected));
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    rms_norm_cpu(pool, args(actual));
    EXPECT_TRUE(close(actual, expected, DType::kF32)) << "what lies between rows stays";
  }
  ThreadPool pool(1);
  for (std::int64_t group = 0; group < kGroups; ++group) {
    rms_norm_cpu(pool, {x.data() + group * kWidth, kStride, weight.data(), alone.data() + group * kWidth,
                        kStride, kRows, kWidth, 1e-5f});
  }
  EXPECT_TRUE(same_bits(actual, alone));
}

TEST(RmsNormByGroups, GradientsEqualReferenceAndThoseOfEachGroupAlone) {
  constexpr std::int64_t kRows = 211, kGroups = 5, kWidth = 20, kStride = kGroups * kWidth + 7;
  const std::vector<float> x = random_floats(kRows * kStride, 2, 3.0f), weight = random_floats(kWidth, 1),
                           dy = random_floats(kRows * kStride, 3), start = random_floats(kRows * kStride, 4);
  struct {
    std::vector<float> dx, d_weight = std::vector<float>(kWidth, 1.0f);
  } expected{start}, actual{start}, alone{start};
  const auto args = [&](auto& out, std::int64_t first, std::int64_t groups) {
    return RmsNormBackwardArgs{x.data() + first,
                               kStride,
                               weight.data(),
                               dy.data() + first,
                               kStride,
                               out.dx.data() + first,
                               kStride,
                               out.d_weight.data(),
                               kRows,
                               kWidth,
                               1e-5f,
                               groups};
  };
  rms_norm_backward_ref(args(expected, 0, kGroups));
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    actual = {start};
    rms_norm_backward_cpu(pool, args(actual, 0, kGroups));
    EXPECT_TRUE(close(actual.dx, expected.dx, DType::kF32)) << "what lies between rows stays";
    EXPECT_TRUE(close(actual.d_weight, expected.d_weight, DType::kF32));
  }
  ThreadPool pool(1);
  for (std::int64_t group = 0; group < kGroups; ++group) {
    rms_norm_backward_cpu(pool, args(alone, group * kWidth, 1));
  }
  EXPECT_TRUE(same_bits(actual.dx, alone.dx));
  EXPECT_TRUE(close(actual.d_weight, alone.d_weight, DType::kF32));
}

// Gradients are added to what is there, and the floats between rows stay.
struct Gradients {
  std::vector<float> dx, d_weight;
};

class RmsNormBackward : public RmsNorm {
 protected:
  template <typename Run>
  Gradients run(const Run& backward, bool frozen = false) const {
    Gradients result = {start_dx, start_d_weight};
    backward(RmsNormBackwardArgs{x.data(), stride(), weight.data(), dy.data(), stride(), result.dx.data(),
                                 stride(), frozen ? nullptr : result.d_weight.data(), GetParam().rows,
                                 GetParam().width, 1e-5f});
    return result;
  }
  Gradients cpu(int threads, bool frozen = false) const {
    ThreadPool pool(threads);
    return run([&](const RmsNormBackwardArgs& args) { rms_norm_backward_cpu(pool, args); }, frozen);
  }
  std::vector<float> dy = random_floats(GetParam().rows * stride(), 3);
  std::vector<float> start_dx = random_floats(GetParam().rows * stride(), 4);
  std::vector<float> start_d_weight = random_floats(GetParam().width, 5);
};

TEST_P(RmsNormBackward, EqualsReferenceWithAnyNumberOfThreads) {
  const Gradients expected = run(rms_norm_backward_ref), alone = cpu(1);
  EXPECT_TRUE(close(alone.dx, expected.dx, DType::kF32));
  EXPECT_TRUE(close(alone.d_weight, expected.d_weight, DType::kF32));
  for (std::size_t i = 0; i < alone.dx.size(); ++i) {
    const bool between_rows = static_cast<std::int64_t>(i) % stride() >= GetParam().width;
    ASSERT_TRUE(!between_rows || alone.dx[i] == start_dx[i]) << "wrote between rows, at " << i;
  }
  for (const int threads : {2, 3}) {
    const Gradients actual = cpu(threads);
    EXPECT_TRUE(same_bits(actual.dx, alone.dx)) << threads << " threads";
    EXPECT_TRUE(same_bits(actual.d_weight, alone.d_weight)) << threads << " threads";
  }
}

TEST_P(RmsNormBackward, FrozenWeight_ChangesNothingElse) {
  const Gradients frozen = cpu(2, true);
  EXPECT_TRUE(same_bits(frozen.dx, cpu(2).dx));
  EXPECT_TRUE(same_bits(frozen.d_weight, start_d_weight));
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNormBackward,
                         ::testing::Values(RmsNormCase{1, 1, 0}, RmsNormCase{3, 13, 2},
                                           RmsNormCase{70, 576, 1}, RmsNormCase{700, 64, 0},
                                           RmsNormCase{33, 2048, 64}),
                         [](const auto& tested) {
                           return "rows" + std::to_string(tested.param.rows) + "_width" +
                                  std::to_string(tested.param.width);
                         });

TEST(RmsNormBackwardReference, EqualsFiniteDifferences) {
  constexpr std::int64_t kRows = 3, kWidth = 7;
  const std::vector<float> weight = random_floats(kWidth, 1), x = random_floats(kRows * kWidth, 2),
                           dy = random_floats(kRows * kWidth, 3);
  const auto loss = [&](const auto& at, const auto& weights) {
    double sum = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
      double squares = 0;
      for (std::size_t i = 0; i < kWidth; ++i) squares += double{at[row * kWidth + i]} * at[row * kWidth + i];
      for (std::size_t i = 0; i < kWidth; ++i) {
        sum += dy[row * kWidth + i] * at[row * kWidth + i] / std::sqrt(squares / kWidth + 1e-2f) * weights[i];
      }
    }
    return sum;
  };
  std::vector<float> dx(x.size()), d_weight(weight.size());
  rms_norm_backward_ref({x.data(), kWidth, weight.data(), dy.data(), kWidth, dx.data(), kWidth,
                         d_weight.data(), kRows, kWidth, 1e-2f});
  EXPECT_TRUE(close(dx, central_differences([&](const auto& at) { return loss(at, weight); }, x), 1e-6));
  EXPECT_TRUE(
      close(d_weight, central_differences([&](const auto& at) { return loss(x, at); }, weight), 1e-6));
}

TEST(RmsNormOfZeros, IsZero) {
  ThreadPool pool(1);
  const std::vector<float> x(16, 0.0f), weight(16, 1.0f);
  std::vector<float> y = poisoned(16);
  rms_norm_cpu(pool, {x.data(), 16, weight.data(), y.data(), 16, 1, 16, 1e-6f});
  EXPECT_TRUE(same_bits(y, x));
}

}  // namespace
}  // namespace dslad::kernels
