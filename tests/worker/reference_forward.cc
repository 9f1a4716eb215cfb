#include "tests/worker/reference_forward.h"

#include <algorithm>
#include <cmath>

#include "kernels/dsla/dsla.h"
#include "kernels/gemm/packed_matrix.h"

namespace dslad::worker::testing {
namespace {

const kernels::PackedMatrix& on_cpu(const kernels::WeightMatrix& matrix) {
  return static_cast<const kernels::PackedMatrix&>(matrix);
}

std::span<const float> on_cpu(const kernels::Vector& vector) {
  return {vector.data(), static_cast<std::size_t>(vector.size())};
}

Vector row_of(const kernels::WeightMatrix& matrix, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(matrix.k()));
  on_cpu(matrix).unpack_row(row, values.data());
  return {values.begin(), values.end()};
}

std::size_t size(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

double dot(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<float> unpacked(const kernels::WeightMatrix& matrix) {
  std::vector<float> rows(static_cast<std::size_t>(matrix.n() * matrix.k()));
  for (std::int64_t row = 0; row < matrix.n(); ++row) {
    on_cpu(matrix).unpack_row(row, rows.data() + row * matrix.k());
  }
  return rows;
}

// With a bias that may be empty.
Vector product(const std::vector<float>& w, const Vector& x, std::span<const float> bias = {}) {
  Vector y(w.size() / x.size());
  for (std::size_t row = 0; row < y.size(); ++row) {
    const float* w_row = w.data() + row * x.size();
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += w_row[i] * x[i];
    y[row] = bias.empty() ? sum : sum + bias[row];
  }
  return y;
}

void add(Vector& x, const Vector& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

std::vector<Vector> ReferenceForward::logits(const std::vector<std::int32_t>& ids) const {
  std::vector<Vector> rows;
  rows.reserve(ids.size());
  for (const std::int32_t id : ids) rows.push_back(row_of(*weights_.embedding, id));
  for (int layer = 0; layer < c().layers; ++layer) {
    attend(layer, rows);
    feed_forward(layer, rows);
  }
  const std::vector<float> output = unpacked(weights_.output_projection());
  for (Vector& x : rows) x = product(output, normalized(x, on_cpu(weights_.final_norm)));
  return rows;
}

Vector ReferenceForward::normalized(const Vector& x, std::span<const float> weight) const {
  Vector y = x;
  normalize(y.data(), static_cast<int>(y.size()), weight);
  return y;
}

void ReferenceForward::normalize(double* x, std::int64_t n, std::span<const float> weight) const {
  const double scale = 1.0 / std::sqrt(dot(x, x, n) / static_cast<double>(n) + c().rms_norm_eps);
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale * weight[static_cast<std::size_t>(i)];
}

void ReferenceForward::normalize_heads(Vector& x, std::span<const float> weight) const {
  if (weight.empty()) return;
  for (std::size_t head = 0; head < x.size(); head += size(c().head_dim)) {
    normalize(&x[head], c().head_dim, weight);
  }
}

void ReferenceForward::rotate(int layer, Vector& x, std::size_t position) const {
  if (!c().rotates(layer)) return;
  const std::vector<double> frequencies = c().inverse_frequencies();
  const std::size_t half = frequencies.size();
  for (double* head = x.data(); head < x.data() + x.size(); head += 2 * half) {
    for (std::size_t j = 0; j < half; ++j) {
      const double angle = static_cast<double>(position) * frequencies[j];
      const double a = head[j], b = head[j + half];
      const double scale = c().rope.attention_factor;
      head[j] = scale * (a * std::cos(angle) - b * std::sin(angle));
      head[j + half] = scale * (b * std::cos(angle) + a * std::sin(angle));
    }
  }
}

void ReferenceForward::map_features(const DslaVariant& variant, Vector& x) const {
  const kernels::FeatureMap map = variant.feature_map;
  const int d = variant.key_channels(c().head_dim);
  if (map == kernels::FeatureMap::kSoftmaxPair) {
    x = softmax_pairs(x, size(d));
    return;
  }
  if (map == kernels::FeatureMap::kNone) return;
  for (double* head = x.data(); head < x.data() + x.size(); head += d) {
    double sum = 0;
    for (int i = 0; i < d; ++i) sum += std::exp(head[i]);
    for (int i = 0; i < d; ++i) head[i] = std::exp(head[i]) / sum;
  }
}

Vector ReferenceForward::softmax_pairs(const Vector& x, std::size_t d) {
  Vector out;
  for (std::size_t head = 0; head < x.size(); head += d) {
    for (const double sign : {1.0, -1.0}) {
      double sum = 0;
      for (std::size_t i = 0; i < d; ++i) sum += std::exp(sign * x[head + i]);
      for (std::size_t i = 0; i < d; ++i) out.push_back(std::exp(sign * x[head + i]) / sum);
    }
  }
  return out;
}

void ReferenceForward::attend(int layer, std::vector<Vector>& rows) const {
  const LayerWeights& w = weights_.layers[static_cast<std::size_t>(layer)];
  const auto found = converted_.find(layer);
  std::vector<Vector> normed;
  normed.reserve(rows.size());
  for (const Vector& x : rows) normed.push_back(normalized(x, on_cpu(w.attention_norm)));
  const auto mixed = found == converted_.end() ? softmax_attention(layer, normed)
                                               : linear_attention(layer, found->second, normed);
  for (std::size_t t = 0; t < rows.size(); ++t) add(rows[t], mixed[t]);
}

std::vector<Vector> ReferenceForward::softmax_attention(int layer, const std::vector<Vector>& x) const {
  const LayerWeights& w = weights_.layers[size(layer)];
  const auto q_width = c().heads * c().head_dim, kv_width = c().kv_heads * c().head_dim;
  const std::vector<float> projection = unpacked(*w.qkv), output = unpacked(*w.output);
  std::vector<Vector> keys, values, out;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const Vector qkv = product(projection, x[t], on_cpu(w.qkv_bias));
    Vector query(qkv.begin(), qkv.begin() + q_width);
    keys.emplace_back(qkv.begin() + q_width, qkv.begin() + q_width + kv_width);
    values.emplace_back(qkv.begin() + q_width + kv_width, qkv.end());
    normalize_heads(query, on_cpu(w.q_norm));
    normalize_heads(keys.back(), on_cpu(w.k_norm));
    rotate(layer, query, t);
    rotate(layer, keys.back(), t);
    const auto seen = c().window(layer) == 0 ? t + 1 : std::min(t + 1, size(c().window(layer)));
    out.push_back(
        product(output, softmax_heads(query, keys, values, t + 1 - seen, 0), on_cpu(w.output_bias)));
  }
  return out;
}

Vector ReferenceForward::softmax_heads(const Vector& query, const std::vector<Vector>& keys,
                                       const std::vector<Vector>& values, std::size_t first,
                                       std::size_t sinks) const {
  const std::int64_t d = c().head_dim, group = c().heads / c().kv_heads;
  Vector heads(query.size(), 0.0);
  for (std::int64_t h = 0; h < c().heads; ++h) {
    const std::int64_t kv = h / group * d;
    Vector weights(keys.size(), 0.0);
    double sum = 0;
    for (std::size_t u = 0; u < keys.size(); ++u) {
      if (u >= sinks && u < first) continue;
      weights[u] =
          std::exp(dot(&query[size(h * d)], &keys[u][size(kv)], d) / std::sqrt(static_cast<double>(d)));
      sum += weights[u];
    }
    for (std::size_t u = 0; u < keys.size(); ++u) {
      for (std::int64_t i = 0; i < d; ++i) {
        heads[size(h * d + i)] += weights[u] / sum * values[u][size(kv + i)];
      }
    }
  }
  return heads;
}

Vector ReferenceForward::first_channels(const DslaVariant& variant, const Vector& x) const {
  const auto d = size(c().head_dim), all = size(variant.key_channels(c().head_dim));
  Vector out;
  for (auto head = x.begin(); head != x.end(); head += static_cast<std::ptrdiff_t>(all)) {
    out.insert(out.end(), head, head + static_cast<std::ptrdiff_t>(d));
  }
  return out;
}

std::vector<Vector> ReferenceForward::linear_attention(int number, const ReferenceLayer& layer,
                                                       const std::vector<Vector>& x) const {
  const auto& [w, variant] = layer;
  const std::int64_t d = c().head_dim, d_k = variant.state_width(c().head_dim);
  Vector states[2];
  for (Vector& state : states) state.assign(size(c().kv_heads * d_k * d), 0.0);
  std::vector<Vector> keys, values, out;
  for (std::size_t t = 0; t < x.size(); ++t) {
    Vector q = product(w.q, x[t], w.q_bias), k = product(w.k, x[t], w.k_bias);
    const Vector v = product(w.v, x[t], w.v_bias);
    normalize_heads(q, w.q_norm);
    normalize_heads(k, w.k_norm);
    Vector rotated_q = first_channels(variant, q), rotated_k = first_channels(variant, k);
    rotate(number, rotated_q, t);
    rotate(number, rotated_k, t);
    keys.push_back(rotated_k);
    values.push_back(v);
    const auto window = size(variant.window);
    Vector exact = window == 0 ? Vector()
                               : softmax_heads(rotated_q, keys, values, t + 1 > window ? t + 1 - window : 0,
                                               size(variant.sinks));
    if (variant.rotary) {
      q = rotated_q;
      k = rotated_k;
    }
    map_features(variant, q);
    map_features(variant, k);
    Vector heads(size(c().heads * d), 0.0);
    if (variant.delta) {
      follow_delta_rule(layer, x[t], {&q, &k, &v}, states[0], heads);
    } else {
      add_to_states(layer, x[t], {&q, &k, &v}, states, heads);
    }
    if (variant.output_norm()) {
      for (std::int64_t h = 0; h < c().heads; ++h) normalize(&heads[size(h * d)], d, w.o_norm);
    }
    for (std::size_t i = 0; i < exact.size(); ++i) {
      exact[i] += w.share[i / size(d)] * heads[i];
    }
    out.push_back(product(w.o, window == 0 ? heads : exact, w.o_bias));
  }
  return out;
}

void ReferenceForward::add_to_states(const ReferenceLayer& layer, const Vector& x, const Projected& in,
                                     Vector (&states)[2], Vector& heads) const {
  const auto& [w, variant] = layer;
  const auto& [q, k, v] = in;
  const std::int64_t d = c().head_dim, group = c().heads / c().kv_heads,
                     d_k = variant.state_width(c().head_dim);
  const auto at = [&](std::int64_t kv, std::int64_t i, std::int64_t j) {
    return size((kv * d_k + i) * d + j);
  };
  for (int state = 0; state < variant.states; ++state) {
    const Vector z = product(state == 0 ? w.g1 : w.g2, x);
    const std::vector<float>& bias = state == 0 ? w.c1 : w.c2;
    for (std::int64_t kv = 0; kv < c().kv_heads; ++kv) {
      for (std::int64_t i = 0; i < d_k; ++i) {
        const auto channel = size(kv * d_k + i);
        const double log_gate =
            -std::log1p(std::exp(-(z[channel] + bias[channel]))) / kernels::kGateTemperature;
        const double gate = std::exp(std::max(log_gate, double{kernels::kMinLogGate}));
        for (std::int64_t j = 0; j < d; ++j) {
          double& s = states[state][at(kv, i, j)];
          s = gate * s + (*k)[channel] * (*v)[size(kv * d + j)];
        }
      }
    }
    for (std::int64_t h = 0; h < c().heads; ++h) {
      for (std::int64_t i = 0; i < d_k; ++i) {
        for (std::int64_t j = 0; j < d; ++j) {
          heads[size(h * d + j)] += mixture(w, state, h) / std::sqrt(static_cast<double>(d_k)) *
                                    (*q)[size(h * d_k + i)] * states[state][at(h / group, i, j)];
        }
      }
    }
  }
}

void ReferenceForward::follow_delta_rule(const ReferenceLayer& layer, const Vector& x, const Projected& in,
                                         Vector& state, Vector& heads) const {
  const auto& [w, variant] = layer;
  const std::int64_t d = c().head_dim, group = c().heads / c().kv_heads,
                     d_k = variant.state_width(c().head_dim);
  const auto unit = [&](const Vector& of, std::int64_t head) {
    Vector out(of.begin() + head * d_k, of.begin() + (head + 1) * d_k);
    const double length = std::sqrt(dot(out.data(), out.data(), d_k));
    for (double& value : out) value /= length;
    return out;
  };
  const Vector gates = product(w.g1, x, w.c1), betas = product(w.g2, x, w.c2);
  for (std::int64_t kv = 0; kv < c().kv_heads; ++kv) {
    const Vector key = unit(*in.k, kv);
    const double log_gate = -std::log1p(std::exp(-gates[size(kv)])) / kernels::kGateTemperature;
    const double gate = std::exp(std::max(log_gate, double{kernels::kMinLogGate}));
    const double beta = 1 / (1 + std::exp(-betas[size(kv)]));
    double* const of_head = &state[size(kv * d_k * d)];
    for (std::int64_t j = 0; j < d; ++j) {
      double found = 0;
      for (std::int64_t i = 0; i < d_k; ++i) found += key[size(i)] * gate * of_head[i * d + j];
      for (std::int64_t i = 0; i < d_k; ++i) {
        double& s = of_head[i * d + j];
        s = gate * s + beta * key[size(i)] * ((*in.v)[size(kv * d + j)] - found);
      }
    }
    for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const Vector query = unit(*in.q, h);
      for (std::int64_t i = 0; i < d_k; ++i) {
        for (std::int64_t j = 0; j < d; ++j) heads[size(h * d + j)] += query[size(i)] * of_head[i * d + j];
      }
    }
  }
}

double ReferenceForward::mixture(const DslaLayerTensors& w, int state, std::int64_t head) {
  if (w.alpha.empty()) return 1;
  const std::size_t columns = w.alpha.size() / 2;
  const std::size_t column = columns == 1 ? 0 : size(head);
  const double history = std::exp(double{w.alpha[column]}),
               recency = std::exp(double{w.alpha[columns + column]});
  return (state == 0 ? history : recency) / (history + recency);
}

void ReferenceForward::feed_forward(int layer, std::vector<Vector>& rows) const {
  const LayerWeights& w = weights_.layers[size(layer)];
  const std::vector<float> gate_up = unpacked(*w.gate_up), down = unpacked(*w.down);
  for (Vector& x : rows) {
    const Vector both = product(gate_up, normalized(x, on_cpu(w.mlp_norm)), on_cpu(w.gate_up_bias));
    Vector inner(both.size() / 2);
    for (std::size_t i = 0; i < inner.size(); ++i) {
      inner[i] = both[i] / (1 + std::exp(-both[i])) * both[inner.size() + i];
    }
    add(x, product(down, inner, on_cpu(w.down_bias)));
  }
}

}  // namespace dslad::worker::testing
