#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/delta/sequence_delta_rule.h"
#include "kernels/dsla/sequence_trees.h"

namespace dslad::kernels {
namespace {

using Doubles = std::vector<double>;

double dot(const Doubles& a, const Doubles& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A vector, its length, and it at length 1.
struct Direction {
  Direction(const float* x, int n) : unit(x, x + n) {
    length = std::max(std::sqrt(dot(unit, unit)), double{kMinKeyLength});
    for (double& value : unit) value /= length;
  }
  // The gradient by the vector, of that by the unit one.
  void write_gradient(const Doubles& d_unit, float* out) const {
    const double along = length > kMinKeyLength ? dot(unit, d_unit) : 0;
    for (std::size_t i = 0; i < unit.size(); ++i)
      out[i] = static_cast<float>((d_unit[i] - unit[i] * along) / length);
  }
  Doubles unit;
  double length;
};

struct ScalarGate {
  double a;      // exp(log a)
  double slope;  // d log a / dz
};

ScalarGate scalar_gate(double logit) {
  const double log_sigmoid = std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)));
  const double log_a = log_sigmoid / kGateTemperature;
  if (log_a <= kMinLogGate) return {std::exp(double{kMinLogGate}), 0};
  return {std::exp(log_a), 1 / (1 + std::exp(std::min(logit, 700.0))) / kGateTemperature};
}

// One KV head with its group of query heads. States and gradients by them: [d_k, d_v].
class DeltaSequences {
 public:
  DeltaSequences(const SequenceDeltaRuleArgs& args, int head)
      : args_(args),
        head_(head),
        d_k_(args.shape.d_k),
        d_v_(args.shape.d_v),
        group_(args.shape.n_heads / args.shape.n_kv) {}

  void forward(const SequenceTree& tree) const {
    const std::vector<Doubles> root = states(*tree.root, zeros());
    read(*tree.root, root);
    for (const Segment* child : tree.children) read(*child, states(*child, root.back()));
  }

  void backward(const SequenceDeltaRuleBackwardArgs& args, const SequenceTree& tree) const {
    const std::vector<Doubles> root = states(*tree.root, zeros());
    Doubles d_root = zeros();
    for (const Segment* child : tree.children) {
      Doubles d_child = zeros();
      sweep(args, *child, states(*child, root.back()), d_child);
      std::ranges::transform(d_child, d_root, d_root.begin(), std::plus<>());
    }
    sweep(args, *tree.root, root, d_root);
  }

 private:
  // What a token sees of its predecessors, and what it adds.
  struct Token {
    Direction k;
    ScalarGate gate;
    double beta;
    Doubles found;  // k^T S_t-1, [d_v]
    Doubles x;      // v - a found
  };

  [[nodiscard]] Doubles zeros() const { return Doubles(static_cast<std::size_t>(d_k_) * d_v_); }

  [[nodiscard]] double logit(std::int64_t row, int which) const {
    const int channel = which * args_.shape.n_kv + head_;
    return double{args_.z[row * args_.z_stride + channel]} + args_.bias[channel];
  }
  [[nodiscard]] Direction query(std::int64_t row, int g) const {
    return {args_.q + row * args_.q_stride + (std::int64_t{head_} * group_ + g) * d_k_, d_k_};
  }

  [[nodiscard]] Token token(std::int64_t row, const Doubles& before) const {
    Token out{Direction(args_.k + row * args_.k_stride + std::int64_t{head_} * d_k_, d_k_),
              scalar_gate(logit(row, 0)),
              1 / (1 + std::exp(-logit(row, 1))),
              Doubles(static_cast<std::size_t>(d_v_)),
              {}};
    for (int i = 0; i < d_k_; ++i) {
      for (int j = 0; j < d_v_; ++j) out.found[j] += out.k.unit[i] * before[i * d_v_ + j];
    }
    const float* v = args_.v + row * args_.v_stride + std::int64_t{head_} * d_v_;
    for (int j = 0; j < d_v_; ++j) out.x.push_back(v[j] - out.gate.a * out.found[j]);
    return out;
  }

  // S_t of every token, behind the state at the start.
  [[nodiscard]] std::vector<Doubles> states(const Segment& segment, const Doubles& start) const {
    std::vector<Doubles> states = {start};
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      Doubles state = states.back();
      const Token at = token(segment.first_row + t, state);
      for (int i = 0; i < d_k_; ++i) {
        for (int j = 0; j < d_v_; ++j) {
          double& s = state[i * d_v_ + j];
          s = at.gate.a * s + at.beta * at.k.unit[i] * at.x[j];
        }
      }
      states.push_back(std::move(state));
    }
    return states;
  }

  void read(const Segment& segment, const std::vector<Doubles>& states) const {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      const std::int64_t row = segment.first_row + t;
      for (int g = 0; g < group_; ++g) {
        const Direction q = query(row, g);
        float* o = args_.o + row * args_.o_stride + (std::int64_t{head_} * group_ + g) * d_v_;
        for (int j = 0; j < d_v_; ++j) {
          double sum = 0;
          for (int i = 0; i < d_k_; ++i) sum += q.unit[i] * states[t + 1][i * d_v_ + j];
          o[j] = static_cast<float>(sum);
        }
      }
    }
  }

  // dq of one row; adds what the queries leave to d_state.
  void sweep_queries(const SequenceDeltaRuleBackwardArgs& args, std::int64_t row, const Doubles& state,
                     Doubles& d_state) const {
    for (int g = 0; g < group_; ++g) {
      const std::int64_t query_head = std::int64_t{head_} * group_ + g;
      const Direction q = query(row, g);
      const float* d_o = args.d_o + row * args_.o_stride + query_head * d_v_;
      Doubles d_q(static_cast<std::size_t>(d_k_));
      for (int i = 0; i < d_k_; ++i) {
        for (int j = 0; j < d_v_; ++j) {
          d_q[i] += state[i * d_v_ + j] * d_o[j];
          d_state[i * d_v_ + j] += q.unit[i] * d_o[j];
        }
      }
      q.write_gradient(d_q, args.dq + row * args.dq_stride + query_head * d_k_);
    }
  }

  // The sweep of the header. d_state: by the state at the end on entry, by that at the start on return.
  void sweep(const SequenceDeltaRuleBackwardArgs& args, const Segment& segment,
             const std::vector<Doubles>& states, Doubles& d_state) const {
    const int n_kv = args_.shape.n_kv;
    double d_bias[2] = {0, 0};
    for (std::int64_t t = segment.rows - 1; t >= 0; --t) {
      const std::int64_t row = segment.first_row + t;
      const Doubles& before = states[t];
      const Token at = token(row, before);
      sweep_queries(args, row, states[t + 1], d_state);
      Doubles d_x(static_cast<std::size_t>(d_v_)), d_k(static_cast<std::size_t>(d_k_));
      double d_beta = 0;
      for (int i = 0; i < d_k_; ++i) {
        double seen = 0;  // (dS x)_i
        for (int j = 0; j < d_v_; ++j) {
          d_x[j] += at.beta * d_state[i * d_v_ + j] * at.k.unit[i];
          seen += d_state[i * d_v_ + j] * at.x[j];
        }
        d_k[i] = at.beta * seen;
        d_beta += at.k.unit[i] * seen;
      }
      double d_a = dot(before, d_state) - dot(at.found, d_x);
      for (int i = 0; i < d_k_; ++i) {
        for (int j = 0; j < d_v_; ++j) {
          d_k[i] -= at.gate.a * before[i * d_v_ + j] * d_x[j];
          d_state[i * d_v_ + j] = at.gate.a * (d_state[i * d_v_ + j] - at.k.unit[i] * d_x[j]);
        }
      }
      at.k.write_gradient(d_k, args.dk + row * args.dk_stride + std::int64_t{head_} * d_k_);
      std::ranges::transform(d_x, args.dv + row * args.dv_stride + std::int64_t{head_} * d_v_,
                             [](double x) { return static_cast<float>(x); });
      const double d_logits[2] = {at.gate.a * d_a * at.gate.slope, d_beta * at.beta * (1 - at.beta)};
      for (int which = 0; which < 2; ++which) {
        args.dz[row * args.dz_stride + std::int64_t{which} * n_kv + head_] =
            static_cast<float>(d_logits[which]);
        d_bias[which] += d_logits[which];
      }
    }
    for (int which = 0; which < 2; ++which) {
      float& bias = args.d_bias[which * n_kv + head_];
      bias = static_cast<float>(bias + d_bias[which]);
    }
  }

  const SequenceDeltaRuleArgs& args_;
  int head_, d_k_, d_v_, group_;
};

}  // namespace

void sequence_delta_rule_ref(const SequenceDeltaRuleArgs& args) {
  for (const SequenceTree& tree : sequence_trees(args.segments)) {
    for (int head = 0; head < args.shape.n_kv; ++head) DeltaSequences(args, head).forward(tree);
  }
}

void sequence_delta_rule_backward_ref(const SequenceDeltaRuleBackwardArgs& args) {
  for (const SequenceTree& tree : sequence_trees(args.forward.segments)) {
    for (int head = 0; head < args.forward.shape.n_kv; ++head)
      DeltaSequences(args.forward, head).backward(args, tree);
  }
}

}  // namespace dslad::kernels
