// feature_map.h on a CUDA device: a warp for each head of a row. Bound by memory; second and third looks at x
// find it in the first level.
#pragma once

#include <cmath>

#include "kernels/cuda/reduce.h"
#include "kernels/dsla/feature_map.h"

namespace dslad::kernels::cuda {

struct MapFeatures {
  using Args = FeatureMapArgs;
  static constexpr int kThreads = 256;
  static constexpr int kHeads = kThreads / kWarp;  // of a block

  static Grid grid(const Args& args) { return {(args.rows * args.heads + kHeads - 1) / kHeads}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t item = block_index().x * kHeads + thread_index() / kWarp;
    if (item >= args.rows * args.heads) return;  // the whole warp
    const std::int64_t row = item / args.heads, head = item % args.heads;
    const float* x = args.x + row * args.x_stride + head * args.d;
    float* y = args.y + row * args.y_stride + head * feature_width(args.map, args.d);
    const auto each = [&](const auto& f) {
      for (int j = thread_index() % kWarp; j < args.d; j += kWarp) f(j);
    };
    switch (args.map) {
      case FeatureMap::kNone:
        return each([&](int j) { y[j] = x[j]; });
      case FeatureMap::kSoftmax:
        return softmax(x, 1.0f, y, each);
      case FeatureMap::kSoftmaxPair:
        softmax(x, 1.0f, y, each);
        return softmax(x, -1.0f, y + args.d, each);
    }
  }

 private:
  // y = softmax(sign x), which may be x: a lane writes what it alone reads.
  template <class Each>
  static DSLAD_DEVICE void softmax(const float* x, float sign, float* y, const Each& each) {
    float largest = -INFINITY, sum = 0;
    each([&](int j) { largest = larger(largest, sign * x[j]); });
    largest = warp_max(largest);
    each([&](int j) { sum += expf(sign * x[j] - largest); });
    sum = warp_sum(sum);
    each([&](int j) { y[j] = expf(sign * x[j] - largest) / sum; });
  }
};

}  // namespace dslad::kernels::cuda
