#include "daemon/policy/stream_fit.h"

#include <algorithm>
#include <cmath>

namespace dslad::daemon::policy {
namespace {

constexpr double kForget = 0.98;  // an observation counts for about the 50 after it
constexpr double kRidge = 1e-3;   // of a term's own weight: decides where observations do not

// Solves the terms of `chosen` (bits) alone; the others are 0. False where they cannot be told apart.
template <std::size_t N>
bool solve_chosen(std::array<std::array<double, N>, N> products, std::array<double, N> targets,
                  unsigned chosen, std::array<double, N>& weights) {
  for (std::size_t i = 0; i < N; ++i) {
    if ((chosen >> i & 1U) != 0) continue;
    products[i].fill(0);
    for (auto& row : products) row[i] = 0;
    products[i][i] = 1;
    targets[i] = 0;
  }
  for (std::size_t pivot = 0; pivot < N; ++pivot) {  // symmetric and positive: no need to look for pivots
    const double own = products[pivot][pivot];
    if (!(own > 0)) return false;
    for (std::size_t row = pivot + 1; row < N; ++row) {
      const double factor = products[row][pivot] / own;
      for (std::size_t column = pivot; column < N; ++column)
        products[row][column] -= factor * products[pivot][column];
      targets[row] -= factor * targets[pivot];
    }
  }
  for (std::size_t i = N; i-- > 0;) {
    double value = targets[i];
    for (std::size_t column = i + 1; column < N; ++column) value -= products[i][column] * weights[column];
    weights[i] = value / products[i][i];
  }
  return std::all_of(weights.begin(), weights.end(),
                     [](double weight) { return std::isfinite(weight) && weight >= 0; });
}

template <std::size_t N>
double squared_error(const std::array<std::array<double, N>, N>& products,
                     const std::array<double, N>& targets, const std::array<double, N>& weights) {
  double error = 0;  // up to a constant
  for (std::size_t i = 0; i < N; ++i) {
    error -= 2 * weights[i] * targets[i];
    for (std::size_t k = 0; k < N; ++k) error += weights[i] * products[i][k] * weights[k];
  }
  return error;
}

}  // namespace

template <std::size_t N>
void StreamFit<N>::add(const Row& x, double y, double weight) {
  if (!(y > 0)) return;
  const double scale = std::max(y, predict(x));
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) {
      products_[i][k] = kForget * products_[i][k] + weight * (x[i] / scale) * (x[k] / scale);
    }
    targets_[i] = kForget * targets_[i] + weight * (x[i] / scale) * (y / scale);
  }
  solve();
}

// Few terms: every choice of those that are not 0 is tried.
template <std::size_t N>
void StreamFit<N>::solve() {
  std::array<Row, N> products = products_;
  Row scale{};
  Row targets{};
  for (std::size_t i = 0; i < N; ++i) scale[i] = products_[i][i] > 0 ? 1 / std::sqrt(products_[i][i]) : 0;
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t k = 0; k < N; ++k) products[i][k] = products_[i][k] * scale[i] * scale[k];
    products[i][i] += kRidge;
    targets[i] = targets_[i] * scale[i];
  }
  Row best{};
  double least = 0;
  for (unsigned chosen = 1; chosen < 1U << N; ++chosen) {
    Row weights{};
    if (!solve_chosen<N>(products, targets, chosen, weights)) continue;
    const double error = squared_error<N>(products, targets, weights);
    if (error >= least) continue;
    least = error;
    best = weights;
  }
  for (std::size_t i = 0; i < N; ++i) weights_[i] = best[i] * scale[i];
}

template <std::size_t N>
double StreamFit<N>::predict(const Row& x) const {
  double sum = 0;
  for (std::size_t i = 0; i < N; ++i) sum += weights_[i] * x[i];
  return sum;
}

template class StreamFit<3>;
template class StreamFit<4>;

}  // namespace dslad::daemon::policy
