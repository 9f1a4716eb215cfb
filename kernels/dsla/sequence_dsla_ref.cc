#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "kernels/dsla/sequence_dsla.h"
#include "kernels/dsla/sequence_trees.h"

namespace dslad::kernels {
namespace {

using Doubles = std::vector<double>;

struct Gate {
  double a;      // exp(log a)
  double slope;  // d log a / dz
};

Gate gate_at(double logit) {
  const double log_sigmoid = std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)));
  const double log_a = log_sigmoid / kGateTemperature;
  if (log_a <= kMinLogGate) return {std::exp(double{kMinLogGate}), 0};
  return {std::exp(log_a), 1 / (1 + std::exp(std::min(logit, 700.0))) / kGateTemperature};
}

// One state of one KV head. States and gradients by them: [d_k, d_v].
class OneState {
 public:
  OneState(const SequenceDslaArgs& args, int i, int head)
      : args_(args),
        i_(i),
        head_(head),
        d_k_(args.shape.d_k),
        d_v_(args.shape.d_v),
        group_(args.shape.n_heads / args.shape.n_kv),
        scale_(1 / std::sqrt(static_cast<double>(d_k_))),
        channel_((std::int64_t{i} * args.shape.n_kv + head) * d_k_) {}

  // S_t of every token, behind the state at the start.
  [[nodiscard]] std::vector<Doubles> states(const Segment& segment, const Doubles& start) const {
    std::vector<Doubles> states = {start};
    for (std::int64_t row = segment.first_row; row < segment.first_row + segment.rows; ++row) {
      Doubles state = states.back();
      for (int a = 0; a < d_k_; ++a) {
        const double decay = gate_of(row, a).a;
        for (int b = 0; b < d_v_; ++b) {
          double& s = state[a * d_v_ + b];
          s = decay * s + double{k(row)[a]} * v(row)[b];
        }
      }
      states.push_back(std::move(state));
    }
    return states;
  }

  // Adds s mix_i q^T S to the group's outputs [group, d_v].
  void read(std::int64_t row, const Doubles& state, Doubles& o) const {
    for (int g = 0; g < group_; ++g) {
      for (int a = 0; a < d_k_; ++a) {
        for (int b = 0; b < d_v_; ++b) {
          o[g * d_v_ + b] += scale_ * mix(g) * q(row, g)[a] * state[a * d_v_ + b];
        }
      }
    }
  }

  // Where gradients of one KV head gather; all its states add to them.
  struct Gradients {
    std::vector<Doubles> dq, dk, dv;  // by row of the segment: [group, d_k], [d_k], [d_v]
    Doubles dz[2];                    // by state: [rows, d_k]
    Doubles bias[2];                  // [d_k]
    Doubles mix[2];                   // [group]
  };

  // The sweep of the header. d_state: by the state at the end on entry, by that at the start on return.
  void sweep(const SequenceDslaBackwardArgs& args, const Segment& segment, const std::vector<Doubles>& states,
             Doubles& d_state, Gradients& out) const {
    Doubles sum(d_k_);
    for (int a = 0; a < d_k_; ++a) {
      for (int b = 0; b < d_v_; ++b) sum[a] += states.back()[a * d_v_ + b] * d_state[a * d_v_ + b];
    }
    for (std::int64_t t = segment.rows - 1; t >= 0; --t) {
      const std::int64_t row = segment.first_row + t;
      const float* d_o = args.d_o + row * args_.o_stride + std::int64_t{head_} * group_ * d_v_;
      for (int a = 0; a < d_k_; ++a) {
        const Gate at = gate_of(row, a);
        for (int g = 0; g < group_; ++g) {
          double read = 0;  // (S do)_a
          for (int b = 0; b < d_v_; ++b) {
            read += states[t + 1][a * d_v_ + b] * d_o[g * d_v_ + b];
            d_state[a * d_v_ + b] += scale_ * mix(g) * q(row, g)[a] * d_o[g * d_v_ + b];
          }
          out.dq[t][g * d_k_ + a] += scale_ * mix(g) * read;
          out.mix[i_][g] += scale_ * q(row, g)[a] * read;
          sum[a] += q(row, g)[a] * scale_ * mix(g) * read;
        }
        double d_key = 0;
        for (int b = 0; b < d_v_; ++b) {
          d_key += d_state[a * d_v_ + b] * v(row)[b];
          out.dv[t][b] += d_state[a * d_v_ + b] * k(row)[a];
          d_state[a * d_v_ + b] *= at.a;
        }
        out.dk[t][a] += d_key;
        sum[a] -= k(row)[a] * d_key;
        const double d_logit = sum[a] * at.slope;
        out.dz[i_][t * d_k_ + a] = d_logit;
        out.bias[i_][a] += d_logit;
      }
    }
  }

 private:
  [[nodiscard]] double mix(int g) const { return args_.mix[i_ * args_.shape.n_heads + head_ * group_ + g]; }
  [[nodiscard]] const float* q(std::int64_t row, int g) const {
    return args_.q + row * args_.q_stride + (std::int64_t{head_} * group_ + g) * d_k_;
  }
  [[nodiscard]] const float* k(std::int64_t row) const {
    return args_.k + row * args_.k_stride + std::int64_t{head_} * d_k_;
  }
  [[nodiscard]] const float* v(std::int64_t row) const {
    return args_.v + row * args_.v_stride + std::int64_t{head_} * d_v_;
  }
  [[nodiscard]] Gate gate_of(std::int64_t row, int a) const {
    return gate_at(double{args_.z[row * args_.z_stride + channel_ + a]} + args_.gate_bias[channel_ + a]);
  }

  const SequenceDslaArgs& args_;
  int i_, head_, d_k_, d_v_, group_;
  double scale_;
  std::int64_t channel_;
};

void add_to(float* to, const Doubles& values) {
  for (const double value : values) {
    *to = static_cast<float>(*to + value);
    ++to;
  }
}

void write(float* to, const Doubles& values) {
  std::ranges::transform(values, to, [](double x) { return static_cast<float>(x); });
}

// One KV head with its states.
class Head {
 public:
  Head(const SequenceDslaArgs& args, int head) : args_(args), head_(head) {
    for (int i = 0; i < args.shape.states; ++i) states_.emplace_back(args, i, head);
  }

  void forward(const SequenceTree& tree) const {
    const Courses roots = courses(*tree.root, zeros());
    read(*tree.root, roots);
    for (const Segment* child : tree.children) read(*child, courses(*child, ends(roots)));
  }

  void backward(const SequenceDslaBackwardArgs& args, const SequenceTree& tree) const {
    const Courses roots = courses(*tree.root, zeros());
    std::vector<Doubles> d_root = zeros();
    for (const Segment* child : tree.children) {
      std::vector<Doubles> d_child = zeros();
      sweep(args, *child, courses(*child, ends(roots)), d_child);
      for (std::size_t i = 0; i < d_root.size(); ++i)
        std::ranges::transform(d_child[i], d_root[i], d_root[i].begin(), std::plus<>());
    }
    sweep(args, *tree.root, roots, d_root);
  }

 private:
  using Courses = std::vector<std::vector<Doubles>>;  // by state: it before each token, and at the end

  [[nodiscard]] std::vector<Doubles> zeros() const {
    return {states_.size(), Doubles(static_cast<std::size_t>(args_.shape.d_k) * args_.shape.d_v)};
  }
  [[nodiscard]] static std::vector<Doubles> ends(const Courses& courses) {
    std::vector<Doubles> ends;
    for (const std::vector<Doubles>& course : courses) ends.push_back(course.back());
    return ends;
  }
  [[nodiscard]] Courses courses(const Segment& segment, const std::vector<Doubles>& starts) const {
    Courses courses;
    for (std::size_t i = 0; i < states_.size(); ++i) courses.push_back(states_[i].states(segment, starts[i]));
    return courses;
  }
  [[nodiscard]] std::int64_t group() const { return args_.shape.n_heads / args_.shape.n_kv; }

  void read(const Segment& segment, const Courses& courses) const {
    for (std::int64_t t = 0; t < segment.rows; ++t) {
      const std::int64_t row = segment.first_row + t;
      Doubles o(static_cast<std::size_t>(group() * args_.shape.d_v));
      for (std::size_t i = 0; i < states_.size(); ++i) states_[i].read(row, courses[i][t + 1], o);
      write(args_.o + row * args_.o_stride + head_ * group() * args_.shape.d_v, o);
    }
  }

  void sweep(const SequenceDslaBackwardArgs& args, const Segment& segment, const Courses& courses,
             std::vector<Doubles>& d_states) const {
    const auto [n_heads, n_kv, d_k, d_v, n_states] = args_.shape;
    const auto rows = static_cast<std::size_t>(segment.rows);
    OneState::Gradients gradients;
    gradients.dq.assign(rows, Doubles(group() * d_k));
    gradients.dk.assign(rows, Doubles(d_k));
    gradients.dv.assign(rows, Doubles(d_v));
    for (int i = 0; i < n_states; ++i) {
      gradients.dz[i].resize(rows * d_k);
      gradients.bias[i].resize(d_k);
      gradients.mix[i].resize(group());
      states_[i].sweep(args, segment, courses[i], d_states[i], gradients);
    }
    for (std::size_t t = 0; t < rows; ++t) {
      const std::int64_t row = segment.first_row + static_cast<std::int64_t>(t);
      write(args.dq + row * args.dq_stride + head_ * group() * d_k, gradients.dq[t]);
      write(args.dk + row * args.dk_stride + std::int64_t{head_} * d_k, gradients.dk[t]);
      write(args.dv + row * args.dv_stride + std::int64_t{head_} * d_v, gradients.dv[t]);
      for (int i = 0; i < n_states; ++i) {
        const std::int64_t channel = (std::int64_t{i} * n_kv + head_) * d_k;
        const double* dz = gradients.dz[i].data() + t * d_k;
        std::transform(dz, dz + d_k, args.dz + row * args.dz_stride + channel,
                       [](double x) { return static_cast<float>(x); });
      }
    }
    for (int i = 0; i < n_states; ++i) {
      add_to(args.d_gate_bias + (std::int64_t{i} * n_kv + head_) * d_k, gradients.bias[i]);
      add_to(args.d_mix + std::int64_t{i} * n_heads + head_ * group(), gradients.mix[i]);
    }
  }

  const SequenceDslaArgs& args_;
  int head_;
  std::vector<OneState> states_;
};

}  // namespace

void sequence_dsla_ref(const SequenceDslaArgs& args) {
  for (const SequenceTree& tree : sequence_trees(args.segments)) {
    for (int head = 0; head < args.shape.n_kv; ++head) Head(args, head).forward(tree);
  }
}

void sequence_dsla_backward_ref(const SequenceDslaBackwardArgs& args) {
  for (const SequenceTree& tree : sequence_trees(args.forward.segments)) {
    for (int head = 0; head < args.forward.shape.n_kv; ++head) Head(args.forward, head).backward(args, tree);
  }
}

}  // namespace dslad::kernels
