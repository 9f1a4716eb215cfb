#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dsla/gate_diversity.h"

namespace dslad::kernels {
namespace {

struct Gates {
  std::vector<double> a;      // divided by the largest, which the cosine does not see
  std::vector<double> slope;  // d log a / dz
  double norm;
};

Gates gates(const float* z, const float* bias, int d_k) {
  Gates result;
  for (int j = 0; j < d_k; ++j) {
    const double logit = double{z[j]} + bias[j];
    const double log_a = (std::min(logit, 0.0) - std::log1p(std::exp(-std::abs(logit)))) / kGateTemperature;
    const bool clamped = log_a <= kMinLogGate;
    result.a.push_back(clamped ? double{kMinLogGate} : log_a);
    result.slope.push_back(clamped ? 0 : 1 / (1 + std::exp(std::min(logit, 700.0))) / kGateTemperature);
  }
  const double largest = *std::ranges::max_element(result.a);
  double squares = 0;
  for (double& a : result.a) {
    a = std::exp(a - largest);
    squares += a * a;
  }
  result.norm = std::sqrt(squares);
  return result;
}

// u = a / |a|, of the two gates: d cosine / d log a_1 = u_1 (u_2 - cosine u_1), and the same the other way
// round.
void add_gradient(const Gates& own, const Gates& other, double cosine, double scale, float* dz,
                  double* bias) {
  for (std::size_t j = 0; j < own.a.size(); ++j) {
    const double u = own.a[j] / own.norm;
    const double gradient = scale * u * (other.a[j] / other.norm - cosine * u) * own.slope[j];
    dz[j] = static_cast<float>(dz[j] + gradient);
    bias[j] += gradient;
  }
}

}  // namespace

double gate_diversity_ref(const GateDiversityArgs& args) {
  const std::int64_t width = std::int64_t{args.n_kv} * args.d_k;
  const double count = static_cast<double>(args.rows) * args.n_kv;
  std::vector<double> bias(static_cast<std::size_t>(2 * width));
  double sum = 0;
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (std::int64_t channel = 0; channel < width; channel += args.d_k) {
      const float* z = args.z + row * args.z_stride + channel;
      const Gates one = gates(z, args.gate_bias + channel, args.d_k);
      const Gates two = gates(z + width, args.gate_bias + width + channel, args.d_k);
      double dot = 0;
      for (int j = 0; j < args.d_k; ++j) dot += one.a[j] * two.a[j];
      const double cosine = dot / (one.norm * two.norm);
      sum += cosine;
      if (args.dz == nullptr) continue;
      float* dz = args.dz + row * args.dz_stride + channel;
      add_gradient(one, two, cosine, args.scale / count, dz, bias.data() + channel);
      add_gradient(two, one, cosine, args.scale / count, dz + width, bias.data() + width + channel);
    }
  }
  if (args.dz != nullptr) {
    for (std::size_t j = 0; j < bias.size(); ++j) {
      args.d_gate_bias[j] = static_cast<float>(args.d_gate_bias[j] + bias[j]);
    }
  }
  return sum / count;
}

}  // namespace dslad::kernels
