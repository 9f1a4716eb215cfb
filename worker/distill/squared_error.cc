#include "worker/distill/squared_error.h"

#include <algorithm>

namespace dslad::worker {

double squared_error(const float* a, const float* b, std::int64_t count, double scale, float* gradient) {
  const auto factor = static_cast<float>(2.0 * scale / static_cast<double>(count));
  // Short float32 sums of a fixed length vectorise; the long sum is in double.
  constexpr std::int64_t kLanes = 16, kRun = 1024;
  double sum = 0.0;
  for (std::int64_t first = 0; first < count; first += kRun) {
    const std::int64_t last = std::min(first + kRun, count);
    float lanes[kLanes] = {};
    for (std::int64_t i = first; i < last; ++i) {
      const float difference = a[i] - b[i];
      lanes[(i - first) % kLanes] += difference * difference;
      gradient[i] = factor * difference;
    }
    for (const float lane : lanes) sum += lane;
  }
  return sum / static_cast<double>(count);
}

}  // namespace dslad::worker
