// Mean squared error of two arrays and its gradient by the first.
#pragma once

#include <cstdint>

namespace dslad::worker {

// Returns mean((a - b)^2), summed in double; writes scale * d(mean)/da = scale * 2 (a - b) / count to
// `gradient`. All [count]; gradient may be b.
double squared_error(const float* a, const float* b, std::int64_t count, double scale, float* gradient);

}  // namespace dslad::worker
