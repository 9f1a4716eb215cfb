#include "kernels/rope/rope.h"

#include <cmath>

namespace dslad::kernels {

RopeTable::RopeTable(std::span<const double> inv_freq, std::int64_t positions, double scale)
    : half_(static_cast<std::int64_t>(inv_freq.size())), positions_(positions) {
  cos_.reserve(static_cast<std::size_t>(half_ * positions_));
  sin_.reserve(cos_.capacity());
  for (std::int64_t position = 0; position < positions_; ++position) {
    for (const double frequency : inv_freq) {
      const double angle = static_cast<double>(position) * frequency;
      cos_.push_back(static_cast<float>(scale * std::cos(angle)));
      sin_.push_back(static_cast<float>(scale * std::sin(angle)));
    }
  }
}

}  // namespace dslad::kernels
