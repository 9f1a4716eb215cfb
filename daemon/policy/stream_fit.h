// Coefficients of few terms, learnt from a stream of observations. Pure.
#pragma once

#include <array>
#include <cstddef>

namespace dslad::daemon::policy {

// Non-negative least squares of a few terms over a stream of rows (x, y): minimises the forgetting sum of
// ((w.x - y) / y)^2, where y, if it is less than predicted, counts by the prediction: one row that is far too
// small must not outweigh all others.
template <std::size_t N>
class StreamFit {
 public:
  using Row = std::array<double, N>;
  void add(const Row& x, double y, double weight = 1);
  void set(const Row& weights) { weights_ = weights; }  // until the next add()
  [[nodiscard]] double predict(const Row& x) const;
  [[nodiscard]] const Row& weights() const { return weights_; }

 private:
  void solve();

  std::array<Row, N> products_{};  // sums of x x' / scale^2
  Row targets_{};                  // sums of x y / scale^2
  Row weights_{};
};

}  // namespace dslad::daemon::policy
