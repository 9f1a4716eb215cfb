#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dsla/feature_map.h"

namespace dslad::kernels {
namespace {

constexpr double kUnitEps = 1e-6;

double inverse_length(const float* x, int d) {
  double squares = kUnitEps;
  for (int i = 0; i < d; ++i) squares += double{x[i]} * x[i];
  return 1.0 / std::sqrt(squares);
}

std::vector<double> mapped(FeatureMap map, const float* x, int d) {
  std::vector<double> y(x, x + d);
  if (map == FeatureMap::kElu) {
    for (double& value : y) value = value > 0 ? value + 1.0 : std::exp(value);
  } else if (map == FeatureMap::kSoftmax) {
    const double largest = *std::ranges::max_element(y);
    double sum = 0;
    for (double& value : y) sum += value = std::exp(value - largest);
    for (double& value : y) value /= sum;
  } else if (map == FeatureMap::kUnit) {
    const double r = inverse_length(x, d);
    for (double& value : y) value *= r;
  }
  return y;
}

std::vector<double> gradient(FeatureMap map, const float* x, const float* dy, int d) {
  const std::vector<double> y = mapped(map, x, d);
  std::vector<double> dx(dy, dy + d);
  double products = 0;  // sum dy y
  for (int i = 0; i < d; ++i) products += dy[i] * y[static_cast<std::size_t>(i)];
  for (std::size_t i = 0; i < dx.size(); ++i) {
    if (map == FeatureMap::kElu) dx[i] *= x[i] > 0 ? 1.0 : y[i];
    if (map == FeatureMap::kSoftmax) dx[i] = y[i] * (dx[i] - products);
    if (map == FeatureMap::kUnit) dx[i] = (dx[i] - y[i] * products) * inverse_length(x, d);
  }
  return dx;
}

void put(const std::vector<double>& values, float* out) {
  std::ranges::transform(values, out, [](double value) { return static_cast<float>(value); });
}

}  // namespace

void feature_map_ref(const FeatureMapArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (int head = 0; head < args.heads; ++head) {
      const std::int64_t at = std::int64_t{head} * args.d;
      put(mapped(args.map, args.x + row * args.x_stride + at, args.d), args.y + row * args.y_stride + at);
    }
  }
}

void feature_map_backward_ref(const FeatureMapBackwardArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (int head = 0; head < args.heads; ++head) {
      const std::int64_t at = std::int64_t{head} * args.d;
      put(gradient(args.map, args.x + row * args.x_stride + at, args.dy + row * args.dy_stride + at, args.d),
          args.dx + row * args.dx_stride + at);
    }
  }
}

}  // namespace dslad::kernels
