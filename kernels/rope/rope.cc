#include "kernels/rope/rope.h"

#include <cmath>

namespace dslad::kernels {

RopeTable::RopeTable(std::span<const double> inv_freq, std::int64_t positions, double scale)
    : own_(values(inv_freq, positions, scale)),
      cos_(own_.data()),
      half_(std::ssize(inv_freq)),
      positions_(positions) {}

RopeTable::RopeTable(const float* values, std::int64_t half, std::int64_t positions)
    : cos_(values), half_(half), positions_(positions) {}

std::vector<float> RopeTable::values(std::span<const double> inv_freq, std::int64_t positions, double scale) {
  const std::size_t size = inv_freq.size() * static_cast<std::size_t>(positions);
  std::vector<float> values;
  values.reserve(2 * size);
  for (std::int64_t position = 0; position < positions; ++position) {
    for (const double frequency : inv_freq)
      values.push_back(static_cast<float>(scale * std::cos(static_cast<double>(position) * frequency)));
  }
  for (std::int64_t position = 0; position < positions; ++position) {
    for (const double frequency : inv_freq)
      values.push_back(static_cast<float>(scale * std::sin(static_cast<double>(position) * frequency)));
  }
  return values;
}

}  // namespace dslad::kernels
