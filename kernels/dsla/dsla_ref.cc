#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels {
namespace {

using State = std::vector<double>;

double gate(double logit) {
  const double log_sigmoid = std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)));
  return std::exp(std::max(log_sigmoid / kGateTemperature, double{kMinLogGate}));
}

// S = diag(a) S + k v^T for one state and one token.
void step(const DslaArgs& args, std::int64_t row, int i, int head, State& state) {
  const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
  const std::int64_t channel = (std::int64_t{i} * n_kv + head) * d_k;
  const float* k = args.k + row * args.k_stride + std::int64_t{head} * d_k;
  const float* v = args.v + row * args.v_stride + std::int64_t{head} * d_v;
  for (int a = 0; a < d_k; ++a) {
    const double decay =
        gate(double{args.z[row * args.z_stride + channel + a]} + args.gate_bias[channel + a]);
    for (int b = 0; b < d_v; ++b) {
      double& s = state[static_cast<std::size_t>(a) * d_v + b];
      s = decay * s + double{k[a]} * v[b];
    }
  }
}

// sum_i mix_i q^T S_i for one query head, scaled.
void read(const DslaArgs& args, std::int64_t row, int head, const std::vector<State>& states) {
  const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
  const float* q = args.q + row * args.q_stride + std::int64_t{head} * d_k;
  for (int b = 0; b < d_v; ++b) {
    double sum = 0;
    for (int i = 0; i < n_states; ++i) {
      for (int a = 0; a < d_k; ++a) {
        sum += double{args.mix[i * n_heads + head]} * q[a] * states[i][static_cast<std::size_t>(a) * d_v + b];
      }
    }
    args.o[row * args.o_stride + std::int64_t{head} * d_v + b] = static_cast<float>(sum / std::sqrt(d_k));
  }
}

void run_head(const DslaArgs& args, const DslaPiece& piece, int head) {
  const auto [n_heads, n_kv, d_k, d_v, n_states] = args.shape;
  const std::int64_t size = std::int64_t{d_k} * d_v;
  const int group = n_heads / n_kv;
  std::vector<State> states;
  for (int i = 0; i < n_states; ++i) {
    const float* const memory = piece.state + (std::int64_t{i} * n_kv + head) * size;
    states.emplace_back(memory, memory + size);
  }
  for (std::int64_t row = piece.first_row; row < piece.first_row + piece.rows; ++row) {
    for (int i = 0; i < n_states; ++i) step(args, row, i, head, states[i]);
    for (int g = 0; g < group; ++g) read(args, row, head * group + g, states);
  }
  for (int i = 0; i < n_states; ++i) {
    std::ranges::transform(states[i], piece.state + (std::int64_t{i} * n_kv + head) * size,
                           [](double s) { return static_cast<float>(s); });
  }
}

}  // namespace

void dsla_ref(const DslaArgs& args) {
  for (const DslaPiece& piece : args.pieces) {
    for (int head = 0; head < args.shape.n_kv; ++head) run_head(args, piece, head);
  }
}

}  // namespace dslad::kernels
