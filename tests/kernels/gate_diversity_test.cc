#include "kernels/dsla/gate_diversity.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::random_floats;
using testing::same_bits;

constexpr float kScale = 0.7f;

struct DiversityOutcome {
  double mean;
  std::vector<float> dz, d_gate_bias;
};

// Gate logits around a mean for each gate, with a gap of poison behind every row.
struct Gates {
  Gates(std::int64_t row_count, int heads, int channels, float deviation = 3, float one = 6, float two = -6)
      : rows(row_count), n_kv(heads), d_k(channels), z(random_floats(rows * stride(), 1, deviation)) {
    for (std::int64_t i = 0; i < rows * stride(); ++i) {
      const std::int64_t channel = i % stride();
      z[static_cast<std::size_t>(i)] += channel < n_kv * d_k ? one : two;
      if (channel >= 2 * n_kv * d_k) z[static_cast<std::size_t>(i)] = NAN;
    }
  }

  [[nodiscard]] std::int64_t stride() const { return std::int64_t{2} * n_kv * d_k + 3; }

  // Gradients start at some value, to which a kernel must add.
  template <class Run>
  [[nodiscard]] DiversityOutcome run(const Run& kernel) const {
    DiversityOutcome out{0, random_floats(rows * stride(), 3, 0.01f), random_floats(bias.size(), 4, 0.01f)};
    out.mean = kernel(GateDiversityArgs{z.data(), stride(), bias.data(), rows, n_kv, d_k, kScale,
                                        out.dz.data(), stride(), out.d_gate_bias.data()});
    return out;
  }
  [[nodiscard]] DiversityOutcome run_ref() const { return run(gate_diversity_ref); }
  [[nodiscard]] DiversityOutcome run_cpu(int threads) const {
    ThreadPool pool(threads);
    return run([&](const GateDiversityArgs& args) { return gate_diversity_cpu(pool, args); });
  }

  std::int64_t rows;
  int n_kv, d_k;
  std::vector<float> z;
  std::vector<float> bias = random_floats(std::int64_t{2} * n_kv * d_k, 2);
};

double log_gate(double x) {
  return std::max(std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))), -800.0) / 16;
}

// The mean cosine in double, of logits in double with `step` added to one of them or to a bias.
struct Nudge {
  std::int64_t element = -1;
  double step = 0;
};
double mean_cosine(const Gates& gates, Nudge logit, Nudge bias) {
  const std::int64_t width = std::int64_t{gates.n_kv} * gates.d_k;
  double sum = 0;
  for (std::int64_t row = 0; row < gates.rows; ++row) {
    for (int head = 0; head < gates.n_kv; ++head) {
      double dot = 0, squares[2] = {0, 0};
      for (std::int64_t j = head * gates.d_k; j < (head + 1) * gates.d_k; ++j) {
        double a[2];
        for (int i = 0; i < 2; ++i) {
          const std::int64_t place = row * gates.stride() + i * width + j;
          double x = double{gates.z[place]} + gates.bias[i * width + j];
          if (place == logit.element) x += logit.step;
          if (i * width + j == bias.element) x += bias.step;
          a[i] = std::exp(log_gate(x));
          squares[i] += a[i] * a[i];
        }
        dot += a[0] * a[1];
      }
      sum += dot / std::sqrt(squares[0] * squares[1]);
    }
  }
  return sum / (static_cast<double>(gates.rows) * gates.n_kv);
}

TEST(GateDiversity, ReferenceEqualsCentralDifferences) {
  constexpr double kStep = 1e-4;
  const Gates gates(3, 2, 5);
  const DiversityOutcome ref = gates.run_ref();
  EXPECT_NEAR(ref.mean, mean_cosine(gates, {}, {}), 1e-12);
  const std::vector<float> dz = random_floats(gates.rows * gates.stride(), 3, 0.01f);
  for (std::int64_t j = 0; j < gates.rows * gates.stride(); ++j) {
    const double rise = mean_cosine(gates, {j, kStep}, {}) - mean_cosine(gates, {j, -kStep}, {});
    EXPECT_NEAR(ref.dz[j], dz[j] + kScale * rise / (2 * kStep), 1e-8) << "element " << j;
  }
  const std::vector<float> d_bias = random_floats(std::ssize(gates.bias), 4, 0.01f);
  for (std::int64_t j = 0; j < std::ssize(gates.bias); ++j) {
    const double rise = mean_cosine(gates, {}, {j, kStep}) - mean_cosine(gates, {}, {j, -kStep});
    EXPECT_NEAR(ref.d_gate_bias[j], d_bias[j] + kScale * rise / (2 * kStep), 1e-8) << "bias " << j;
  }
}

void expect_close(const Gates& gates) {
  const DiversityOutcome actual = gates.run_cpu(2), expected = gates.run_ref();
  EXPECT_NEAR(actual.mean, expected.mean, 1e-6);
  EXPECT_TRUE(close(actual.dz, expected.dz, DType::kF32));
  EXPECT_TRUE(close(actual.d_gate_bias, expected.d_gate_bias, DType::kF32));
}

TEST(GateDiversity, VectorisedFormMatchesReference) {
  expect_close(Gates(1, 1, 8));
  expect_close(Gates(15, 3, 64));
  expect_close(Gates(100, 2, 22));
  expect_close(Gates(7, 1, 1));
}

TEST(GateDiversity, ExtremeGatesAreOrdinary) {
  for (const float one : {-800.0f, 800.0f}) {
    for (const float two : {-800.0f, 0.0f, 800.0f}) expect_close(Gates(9, 2, 16, 1, one, two));
  }
  expect_close(Gates(50, 2, 16, 800, 0, 0));
}

TEST(GateDiversity, EqualGatesAreFullyAlike) {
  Gates gates(4, 2, 8, 0, 2, 2);
  std::ranges::fill(gates.bias, 0.0f);
  EXPECT_NEAR(gates.run_cpu(1).mean, 1, 1e-6);
}

TEST(GateDiversity, MeanAloneWantsNoGradients) {
  const Gates gates(20, 3, 10);
  ThreadPool pool(2);
  const GateDiversityArgs args{
      gates.z.data(), gates.stride(), gates.bias.data(), 20, 3, 10, kScale, nullptr, 0, nullptr};
  EXPECT_EQ(gate_diversity_cpu(pool, args), gates.run_cpu(2).mean);
  EXPECT_EQ(gate_diversity_ref(args), gates.run_ref().mean);
}

TEST(GateDiversity, ResultsDoNotDependOnThreads) {
  const Gates gates(100, 3, 20);
  const DiversityOutcome one = gates.run_cpu(1);
  for (const int threads : {2, 3}) {
    const DiversityOutcome many = gates.run_cpu(threads);
    EXPECT_EQ(many.mean, one.mean);
    EXPECT_TRUE(same_bits(many.dz, one.dz));
    EXPECT_TRUE(same_bits(many.d_gate_bias, one.d_gate_bias));
  }
}

}  // namespace
}  // namespace dslad::kernels
