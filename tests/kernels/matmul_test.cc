#include "kernels/gemm/matmul.h"

#include <cstddef>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"
#include "tests/sanitized.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;
using testing::same_bits;

struct MatmulShape {
  std::int64_t m, n, k;
};

// One of the layouts and types that an operand may have.
struct Layout {
  DType dtype;
  bool transposed;
};

// A matrix with NaN behind every row.
class Operand {
 public:
  Operand(std::int64_t rows, std::int64_t columns, Layout layout, std::uint64_t seed) : layout_(layout) {
    if (layout.transposed) std::swap(rows, columns);
    stride_ = columns + 3;
    values_ = random_floats(rows * stride_, seed);
    for (std::int64_t row = 0; row < rows; ++row) {
      std::fill_n(values_.begin() + row * stride_ + columns, 3, std::numeric_limits<float>::quiet_NaN());
    }
    halves_ = testing::to_bf16(values_);
  }
  [[nodiscard]] MatrixOperand view() const {
    const void* data =
        layout_.dtype == DType::kF32 ? static_cast<const void*>(values_.data()) : halves_.data();
    return {data, layout_.dtype, stride_, layout_.transposed};
  }

 private:
  Layout layout_;
  std::int64_t stride_;
  std::vector<float> values_;
  std::vector<bf16> halves_;
};

struct MatmulProblem {
  MatmulProblem(MatmulShape shape, Layout a_layout, Layout b_layout, DType type, std::uint64_t seed = 1)
      : size(shape),
        a(shape.m, shape.k, a_layout, seed),
        b(shape.k, shape.n, b_layout, seed + 1),
        compute(type),
        c(random_floats(shape.m * (shape.n + 5), seed + 2)) {}

  template <typename Run>
  std::vector<float> run(const Run& matmul, bool accumulate) const {
    std::vector<float> result = c;
    matmul(MatmulArgs{size.m, size.n, size.k, a.view(), b.view(), result.data(), size.n + 5, accumulate,
                      compute});
    return result;
  }
  std::vector<float> reference(bool accumulate) const { return run(matmul_ref, accumulate); }
  std::vector<float> cpu(int threads, bool accumulate) const {
    ThreadPool pool(threads);
    return run([&](const MatmulArgs& args) { matmul_cpu(pool, args); }, accumulate);
  }

  MatmulShape size;
  Operand a, b;
  DType compute;
  std::vector<float> c;
};

class Matmul : public ::testing::TestWithParam<MatmulShape> {};

// Guard columns of C keep their values: `close` compares them, too.
void expect_reference_and_same_bits(const MatmulProblem& problem, const std::string& what) {
  for (const bool accumulate : {false, true}) {
    const std::vector<float> alone = problem.cpu(1, accumulate);
    EXPECT_TRUE(close(alone, problem.reference(accumulate), DType::kF32))
        << what << ", accumulate " << accumulate;
    for (const int threads : {2, 3}) {
      EXPECT_TRUE(same_bits(problem.cpu(threads, accumulate), alone))
          << what << ", " << threads << " threads";
    }
  }
}

std::string name_of(Layout layout) {
  return std::string(layout.dtype == DType::kF32 ? "f32" : "bf16") + (layout.transposed ? " transposed" : "");
}

TEST_P(Matmul, InBf16_EqualsReferenceForEveryLayout) {
  constexpr Layout kLayouts[] = {
      {DType::kF32, false}, {DType::kF32, true}, {DType::kBf16, false}, {DType::kBf16, true}};
  for (const Layout a : kLayouts) {
    for (const Layout b : kLayouts) {
      expect_reference_and_same_bits({GetParam(), a, b, DType::kBf16}, name_of(a) + " x " + name_of(b));
    }
  }
}

TEST_P(Matmul, InF32_EqualsReferenceForEveryLayout) {
  for (const bool a : {false, true}) {
    for (const bool b : {false, true}) {
      const Layout left{DType::kF32, a}, right{DType::kF32, b};
      expect_reference_and_same_bits({GetParam(), left, right, DType::kF32},
                                     name_of(left) + " x " + name_of(right));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Matmul,
                         ::testing::Values(MatmulShape{1, 1, 1}, MatmulShape{3, 5, 2},
                                           MatmulShape{17, 64, 31}, MatmulShape{16, 65, 32},
                                           MatmulShape{65, 130, 33}, MatmulShape{33, 70, 129},
                                           MatmulShape{300, 40, 64}, MatmulShape{64, 300, 17}),
                         [](const auto& tested) {
                           return "m" + std::to_string(tested.param.m) + "_n" +
                                  std::to_string(tested.param.n) + "_k" + std::to_string(tested.param.k);
                         });

class LongMatmul : public ::testing::TestWithParam<DType> {};

// Beyond what is packed at once along K, and beyond it along M and N.
TEST_P(LongMatmul, EqualsReference) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: the same code as short ones, for numbers alone";
  const DType compute = GetParam();
  for (const MatmulShape shape : dslad::testing::sample(
           std::vector<MatmulShape>{{20, 70, 9001}, {16, 1030, 4090}, {1030, 3, 4090}}, 3)) {
    const MatmulProblem problem(shape, {DType::kF32, true}, {DType::kF32, false}, compute, 7);
    expect_reference_and_same_bits(problem, "m " + std::to_string(shape.m));
  }
}

TEST_P(LongMatmul, NotANumber_StaysInItsRow) {
  constexpr MatmulShape kShape{40, 80, 70};
  std::vector<float> a = random_floats(kShape.m * kShape.k, 1),
                     c(static_cast<std::size_t>(kShape.m * kShape.n));
  const std::vector<float> b = random_floats(kShape.k * kShape.n, 2);
  a[20 * kShape.k + 4] = std::numeric_limits<float>::quiet_NaN();
  ThreadPool pool(2);
  matmul_cpu(pool, {kShape.m,
                    kShape.n,
                    kShape.k,
                    {a.data(), DType::kF32, kShape.k},
                    {b.data(), DType::kF32, kShape.n},
                    c.data(),
                    kShape.n,
                    false,
                    GetParam()});
  for (std::int64_t row = 0; row < kShape.m; ++row) {
    EXPECT_EQ(std::isnan(c[static_cast<std::size_t>(row * kShape.n)]), row == 20) << "row " << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LongMatmul, ::testing::Values(DType::kF32, DType::kBf16),
                         [](const auto& tested) {
                           return std::string(tested.param == DType::kF32 ? "f32" : "bf16");
                         });

}  // namespace
}  // namespace dslad::kernels
