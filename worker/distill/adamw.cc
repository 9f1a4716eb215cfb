#include "worker/distill/adamw.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace dslad::worker {

AdamW::AdamW(const AdamWOptions& options, std::size_t size)
    : options_(options), first_(size), second_(size) {}

double AdamW::step(std::span<float> values, std::span<const float> gradients, std::size_t decayed,
                   double rate) {
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
  const auto rate32 = static_cast<float>(rate), shrink = static_cast<float>(rate * options_.decay);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float g = gradients[i] * scale;
    first_[i] = b1 * first_[i] + (1.0f - b1) * g;
    second_[i] = b2 * second_[i] + (1.0f - b2) * g * g;
    const float update = first_[i] * unbias1 / (std::sqrt(second_[i] * unbias2) + epsilon);
    values[i] -= rate32 * update + (i < decayed ? shrink * values[i] : 0.0f);
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
