#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/delta/delta_rule.h"

namespace dslad::kernels {
namespace {

using Doubles = std::vector<double>;

// Of length 1.
Doubles unit(const float* x, int n) {
  Doubles out(x, x + n);
  double squares = 0;
  for (const double value : out) squares += value * value;
  const double length = std::max(std::sqrt(squares), double{kMinKeyLength});
  for (double& value : out) value /= length;
  return out;
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double open_share(double logit) {
  const double log_sigmoid = std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)));
  return std::exp(std::max(log_sigmoid / kGateTemperature, double{kMinLogGate}));
}

// One KV head, row by row; `state` is [d_k, d_v].
class Recurrence {
 public:
  Recurrence(const DeltaRuleArgs& args, int head) : args_(args), head_(head) {}

  void step(std::int64_t row, Doubles& state) const {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args_.shape;
    const Doubles k = unit(args_.k + row * args_.k_stride + std::int64_t{head_} * d_k, d_k);
    const float* v = args_.v + row * args_.v_stride + std::int64_t{head_} * d_v;
    const double a = open_share(logit(row, 0)), beta = sigmoid(logit(row, 1));
    for (int j = 0; j < d_v; ++j) {
      double found = 0;
      for (int i = 0; i < d_k; ++i) found += k[i] * state[i * d_v + j];
      const double added = beta * (v[j] - a * found);
      for (int i = 0; i < d_k; ++i) state[i * d_v + j] = a * state[i * d_v + j] + k[i] * added;
    }
    const int group = n_heads / n_kv;
    for (int g = head_ * group; g < (head_ + 1) * group; ++g) read(row, g, state);
  }

 private:
  void read(std::int64_t row, int query_head, const Doubles& state) const {
    const int d_k = args_.shape.d_k, d_v = args_.shape.d_v;
    const Doubles q = unit(args_.q + row * args_.q_stride + std::int64_t{query_head} * d_k, d_k);
    float* o = args_.o + row * args_.o_stride + std::int64_t{query_head} * d_v;
    for (int j = 0; j < d_v; ++j) {
      double sum = 0;
      for (int i = 0; i < d_k; ++i) sum += q[i] * state[i * d_v + j];
      o[j] = static_cast<float>(sum);
    }
  }

  // Of the gate (0) or of beta (1).
  [[nodiscard]] double logit(std::int64_t row, int which) const {
    const int channel = which * args_.shape.n_kv + head_;
    return double{args_.z[row * args_.z_stride + channel]} + args_.bias[channel];
  }

  const DeltaRuleArgs& args_;
  int head_;
};

}  // namespace

void delta_rule_ref(const DeltaRuleArgs& args) {
  const std::size_t size = static_cast<std::size_t>(args.shape.d_k) * args.shape.d_v;
  for (const DslaPiece& piece : args.pieces) {
    for (int head = 0; head < args.shape.n_kv; ++head) {
      float* const at = piece.state + head * size;
      Doubles state(at, at + size);
      for (std::int64_t row = piece.first_row; row < piece.first_row + piece.rows; ++row)
        Recurrence(args, head).step(row, state);
      std::ranges::transform(state, at, [](double x) { return static_cast<float>(x); });
    }
  }
}

}  // namespace dslad::kernels
