// Feature maps on queries and keys of linear attention, head by head, and their gradients: an option that the
// paper's layer does not have.
//
//   kNone         y = x
//   kSoftmax      y = softmax(x) over the head     (LoLCATs, arXiv 2410.10254, without its second half)
//   kSoftmaxPair  y = [softmax(x), softmax(-x)]    (Hedgehog, arXiv 2402.04347): twice as wide
//   x [rows, heads, d], y [rows, heads, feature_width(map, d)] f32, row stride.
// y may be x where it is as wide. Backward reads x, not y: dx is overwritten, may be dy where that is as
// wide.
#pragma once

#include <cstdint>

namespace dslad::kernels {

class ThreadPool;

enum class FeatureMap : std::uint8_t { kNone, kSoftmax, kSoftmaxPair };

// Elements that the map makes of a head of d.
constexpr int feature_width(FeatureMap map, int d) {
  return map == FeatureMap::kSoftmaxPair ? 2 * d : d;
}

struct FeatureMapArgs {
  FeatureMap map;
  const float* x;
  std::int64_t x_stride;
  float* y;
  std::int64_t y_stride;
  std::int64_t rows;
  int heads, d;  // d of x
};

struct FeatureMapBackwardArgs {
  FeatureMap map;
  const float* x;
  std::int64_t x_stride;
  const float* dy;
  std::int64_t dy_stride;
  float* dx;
  std::int64_t dx_stride;
  std::int64_t rows;
  int heads, d;  // d of x
};

void feature_map_ref(const FeatureMapArgs& args);  // in double
void feature_map_cpu(ThreadPool& pool, const FeatureMapArgs& args);
void feature_map_backward_ref(const FeatureMapBackwardArgs& args);  // in double
void feature_map_backward_cpu(ThreadPool& pool, const FeatureMapBackwardArgs& args);

}  // namespace dslad::kernels
