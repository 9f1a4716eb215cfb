// Gradients by central differences of a function in double: the oracle of the hand-written backward passes.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace dslad::kernels::testing {

using DoubleFunction = std::function<double(const std::vector<double>&)>;

// d f / d x at `x`, each element moved by +-step.
inline std::vector<float> central_differences(const DoubleFunction& f, std::span<const float> x,
                                              double step = 1e-5) {
  std::vector<double> at(x.begin(), x.end());
  std::vector<float> gradient;
  gradient.reserve(at.size());
  for (double& value : at) {
    const double middle = value;
    value = middle + step;
    const double above = f(at);
    value = middle - step;
    gradient.push_back(static_cast<float>((above - f(at)) / (2 * step)));
    value = middle;
  }
  return gradient;
}

}  // namespace dslad::kernels::testing
