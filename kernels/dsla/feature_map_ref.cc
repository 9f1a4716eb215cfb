#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dsla/feature_map.h"

namespace dslad::kernels {
namespace {

std::vector<double> softmax(const float* x, double sign, int d) {
  std::vector<double> y(x, x + d);
  for (double& value : y) value *= sign;
  const double largest = *std::ranges::max_element(y);
  double sum = 0;
  for (double& value : y) sum += value = std::exp(value - largest);
  for (double& value : y) value /= sum;
  return y;
}

std::vector<double> mapped(FeatureMap map, const float* x, int d) {
  if (map == FeatureMap::kNone) return {x, x + d};
  std::vector<double> y = softmax(x, 1, d);
  if (map == FeatureMap::kSoftmaxPair) {
    const std::vector<double> other = softmax(x, -1, d);
    y.insert(y.end(), other.begin(), other.end());
  }
  return y;
}

// By x, of y = softmax(sign x).
std::vector<double> softmax_gradient(const float* x, double sign, const float* dy, int d) {
  std::vector<double> dx = softmax(x, sign, d);  // y
  double products = 0;                           // sum dy y
  for (int i = 0; i < d; ++i) products += dy[i] * dx[static_cast<std::size_t>(i)];
  for (std::size_t i = 0; i < dx.size(); ++i) dx[i] *= sign * (dy[i] - products);
  return dx;
}

std::vector<double> gradient(FeatureMap map, const float* x, const float* dy, int d) {
  if (map == FeatureMap::kNone) return {dy, dy + d};
  std::vector<double> dx = softmax_gradient(x, 1, dy, d);
  if (map == FeatureMap::kSoftmaxPair) {
    const std::vector<double> other = softmax_gradient(x, -1, dy + d, d);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += other[i];
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
      put(mapped(args.map, args.x + row * args.x_stride + std::int64_t{head} * args.d, args.d),
          args.y + row * args.y_stride + std::int64_t{head} * feature_width(args.map, args.d));
    }
  }
}

void feature_map_backward_ref(const FeatureMapBackwardArgs& args) {
  for (std::int64_t row = 0; row < args.rows; ++row) {
    for (int head = 0; head < args.heads; ++head) {
      const std::int64_t at = std::int64_t{head} * args.d;
      const float* dy = args.dy + row * args.dy_stride + std::int64_t{head} * feature_width(args.map, args.d);
      put(gradient(args.map, args.x + row * args.x_stride + at, dy, args.d),
          args.dx + row * args.dx_stride + at);
    }
  }
}

}  // namespace dslad::kernels
