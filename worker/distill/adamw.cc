#include "worker/distill/adamw.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dslad::worker {

AdamW::AdamW(const AdamWOptions& options, std::size_t size)
    : options_(options), first_(size), second_(size) {}

double AdamW::step(std::span<float> values, std::span<const float> gradients,
                   std::span<const ParameterGroup> groups, double rate) {
  double squares = 0;
  for (const float g : gradients) squares += static_cast<double>(g) * static_cast<double>(g);
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return norm;

  ++steps_;
  const auto steps = static_cast<double>(steps_);
  const auto b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2);
  const auto scale = static_cast<float>(norm > options_.clip ? options_.clip / norm : 1.0);
  const auto unbias1 = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta1, steps)));
  const auto unbias2 = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta2, steps)));
  const auto epsilon = static_cast<float>(options_.epsilon);
  std::size_t i = 0;
  for (const ParameterGroup& group : groups) {
    const auto group_rate = static_cast<float>(rate * group.rate);
    const auto shrink = static_cast<float>(group.decayed ? rate * group.rate * options_.decay : 0.0);
    for (const std::size_t end = i + group.size; i < end; ++i) {
      const float g = gradients[i] * scale;
      first_[i] = b1 * first_[i] + (1.0f - b1) * g;
      second_[i] = b2 * second_[i] + (1.0f - b2) * g * g;
      const float update = first_[i] * unbias1 / (std::sqrt(second_[i] * unbias2) + epsilon);
      values[i] -= group_rate * update + shrink * values[i];
    }
  }
  return norm;
}

void AdamW::restore(std::int64_t steps, std::span<const float> first, std::span<const float> second) {
  steps_ = steps;
  std::ranges::copy(first, first_.begin());
  std::ranges::copy(second, second_.begin());
}

double CosineSchedule::at(std::int64_t step) const {
  if (step < warm_up) return high * static_cast<double>(step + 1) / static_cast<double>(warm_up);
  const double done = std::min(1.0, static_cast<double>(step - warm_up) /
                                        static_cast<double>(std::max<std::int64_t>(1, steps - warm_up)));
  return low + (high - low) * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
}

}  // namespace dslad::worker
