// The reference against a closed form in double, without recurrence, and its gradients against central
// differences of that form.
#include <cmath>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "tests/kernels/sequence_dsla_world.h"
#include "tests/sanitized.h"

namespace dslad::kernels {
namespace {

using testing::close;
using testing::GateLogits;
using testing::PoisonedRows;
using testing::SequenceDslaOutcome;
using testing::SequenceDslaWorld;

// The world's inputs in double, and the loss sum(o * d_o) of the closed form
//   o_t = s sum_i mix_i sum_u (sum_d q_t k_u prod_{u < r <= t} a_i,r) v_u     over all u that t can see.
class ClosedForm {
 public:
  explicit ClosedForm(const SequenceDslaWorld& world) : world_(world) {
    for (auto [name, rows] : {std::pair{"q", &world.q}, {"k", &world.k}, {"v", &world.v}, {"z", &world.z}}) {
      inputs_[name].assign(rows->values.begin(), rows->values.end());
    }
    inputs_["bias"].assign(world.gate_bias.begin(), world.gate_bias.end());
    inputs_["mix"].assign(world.mix.begin(), world.mix.end());
  }

  [[nodiscard]] double loss() {
    find_gates();
    double sum = 0;
    for (const Segment& segment : world_.segments) {
      std::vector<std::int64_t> seen;
      if (segment.parent >= 0) {
        const Segment& parent = world_.segments[static_cast<std::size_t>(segment.parent)];
        for (std::int64_t r = 0; r < parent.rows; ++r) seen.push_back(parent.first_row + r);
      }
      for (std::int64_t r = 0; r < segment.rows; ++r) {
        seen.push_back(segment.first_row + r);
        for (int head = 0; head < world_.shape().n_heads; ++head) sum += query(seen, head);
      }
    }
    return sum;
  }

  // d loss / d input by central differences; NaN where the input is poison.
  std::vector<float> gradient(const char* name) {
    constexpr double kStep = 1e-4;
    std::vector<float> result;
    for (double& x : inputs_[name]) {
      if (std::isnan(x)) {
        result.push_back(NAN);
        continue;
      }
      const double kept = x;
      x = kept + kStep;
      const double above = loss();
      x = kept - kStep;
      const double below = loss();
      x = kept;
      result.push_back(static_cast<float>((above - below) / (2 * kStep)));
    }
    return result;
  }

 private:
  // By place in z.
  void find_gates() {
    const std::vector<double>&z = inputs_.at("z"), &bias = inputs_.at("bias");
    gates_.resize(z.size());
    for (std::size_t j = 0; j < z.size(); ++j) {
      const std::size_t channel = j % static_cast<std::size_t>(world_.z.stride());
      if (channel >= bias.size()) continue;
      const double x = z[j] + bias[channel];
      gates_[j] = std::exp(std::max(std::min(x, 0.0) - std::log1p(std::exp(-std::abs(x))), -800.0) / 16);
    }
  }

  // sum over d_v of o * d_o, of the last of `seen`.
  [[nodiscard]] double query(const std::vector<std::int64_t>& seen, int head) const {
    const auto [n_heads, n_kv, d_k, d_v, states] = world_.shape();
    const int kv = head / (n_heads / n_kv);
    const std::int64_t t = seen.back();
    const std::vector<double>&q = inputs_.at("q"), &k = inputs_.at("k"), &v = inputs_.at("v");
    double sum = 0;
    for (int i = 0; i < states; ++i) {
      std::vector<double> decay(d_k, 1.0);
      for (auto u = seen.rbegin(); u != seen.rend(); ++u) {
        double score = 0, value = 0;
        for (int a = 0; a < d_k; ++a) {
          score +=
              q[t * world_.q.stride() + head * d_k + a] * k[*u * world_.k.stride() + kv * d_k + a] * decay[a];
          decay[a] *= gates_[*u * world_.z.stride() + (i * n_kv + kv) * d_k + a];
        }
        for (int b = 0; b < d_v; ++b) {
          value += v[*u * world_.v.stride() + kv * d_v + b] *
                   double{world_.d_o.values[t * world_.d_o.stride() + head * d_v + b]};
        }
        sum += inputs_.at("mix")[i * n_heads + head] * score * value;
      }
    }
    return sum / std::sqrt(d_k);
  }

  const SequenceDslaWorld& world_;
  std::map<std::string, std::vector<double>> inputs_;
  std::vector<double> gates_;
};

// What a sum that began with `start` comes to: it is float32, and rounded as such.
std::vector<float> on(float start, std::vector<float> values) {
  for (float& x : values) x += start;
  return values;
}

class SequenceDslaGradient : public ::testing::TestWithParam<std::tuple<GateLogits, int>> {};

TEST_P(SequenceDslaGradient, ReferenceEqualsCentralDifferences) {
  if (dslad::testing::kSanitized) GTEST_SKIP() << "skipped: it is about numbers alone";
  const auto& [gates, states] = GetParam();
  SequenceDslaWorld world({4, 2, 3, 2, states}, 2, gates);
  const std::int32_t document = world.add(5);
  for (const std::int64_t rows : {3, 1, 4}) world.add(rows, document);
  world.add(4);
  const SequenceDslaOutcome ref = world.run_ref();
  ClosedForm form(world);
  double loss = 0;
  for (const Segment& segment : world.segments) {
    const std::vector<float> o = ref.o.rows(segment), d_o = world.d_o.rows(segment);
    for (std::size_t j = 0; j < o.size(); ++j) loss += double{o[j]} * d_o[j];
  }
  EXPECT_NEAR(loss, form.loss(), 1e-5);

  constexpr double kRounding = 1e-6;
  const auto expect_rows = [&](const char* name, const PoisonedRows& actual) {
    PoisonedRows expected{actual.width, form.gradient(name)};
    for (const Segment& segment : world.segments) {
      EXPECT_TRUE(close(actual.rows(segment), expected.rows(segment), kRounding)) << name;
    }
  };
  expect_rows("q", ref.dq);
  expect_rows("k", ref.dk);
  expect_rows("v", ref.dv);
  expect_rows("z", ref.dz);
  EXPECT_TRUE(close(ref.d_gate_bias, on(0.25f, form.gradient("bias")), kRounding));
  EXPECT_TRUE(close(ref.d_mix, on(-0.5f, form.gradient("mix")), kRounding));
}

INSTANTIATE_TEST_SUITE_P(Gates, SequenceDslaGradient,
                         ::testing::Combine(::testing::Values(GateLogits{}, GateLogits{3, {0, 0}},
                                                              GateLogits{10, {-60, 5}},
                                                              GateLogits{1, {-900, 0}}),
                                            ::testing::Values(2, 1)));

}  // namespace
}  // namespace dslad::kernels
