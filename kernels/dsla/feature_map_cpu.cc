#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/dsla/feature_map.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/feature_map_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sum of value(d, i) over [0, n), in an order that n alone decides.
template <class Value>
HWY_INLINE float sum_over(std::int64_t n, const Value& value) {
  float lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  for_lanes(n, [&](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, lanes), value(d, i)), d, lanes); });
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// exp(sign x - largest) of one head; NaN for NaN, where Highway's exponential is 0.
struct Softened {
  Softened(const float* head, std::int64_t n, float of_sign)
      : x(head),
        sign(of_sign),
        largest(of_sign > 0 ? *std::max_element(x, x + n) : -*std::min_element(x, x + n)) {}
  const float* x;
  float sign, largest;
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, std::int64_t i) const {
    const auto below = hn::MulSub(hn::LoadU(d, x + i), hn::Set(d, sign), hn::Set(d, largest));
    return hn::Add(hn::Exp(d, below), hn::Sub(below, below));
  }
};

// y = softmax(sign x); sign is 1 or -1.
void softmax(const float* x, float sign, float* y, std::int64_t n) {
  const Softened e(x, n, sign);
  const float sum = sum_over(n, e);
  for_lanes(
      n, [&](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(hn::Div(e(d, i), hn::Set(d, sum)), d, y + i); });
}

// The gradient by x, added to dx where `added`, else written over it.
void softmax_gradient(const float* x, float sign, const float* dy, bool added, float* dx, std::int64_t n) {
  const Softened e(x, n, sign);
  const float sum = sum_over(n, e);
  const float mean =
      sum_over(n, [&](auto d, std::int64_t i) HWY_ATTR { return hn::Mul(e(d, i), hn::LoadU(d, dy + i)); }) /
      sum;
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto y = hn::Div(e(d, i), hn::Set(d, sign * sum));
    const auto before = added ? hn::LoadU(d, dx + i) : hn::Zero(d);
    hn::StoreU(hn::MulAdd(y, hn::Sub(hn::LoadU(d, dy + i), hn::Set(d, mean)), before), d, dx + i);
  });
}

void map_head(FeatureMap map, const float* x, float* y, std::int64_t d) {
  switch (map) {
    case FeatureMap::kNone:
      if (y != x) std::copy_n(x, d, y);
      break;
    case FeatureMap::kSoftmax:
      softmax(x, 1, y, d);
      break;
    case FeatureMap::kSoftmaxPair:
      softmax(x, 1, y, d);
      softmax(x, -1, y + d, d);
      break;
  }
}

void map_head_backward(FeatureMap map, const float* x, const float* dy, float* dx, std::int64_t d) {
  switch (map) {
    case FeatureMap::kNone:
      if (dx != dy) std::copy_n(dy, d, dx);
      break;
    case FeatureMap::kSoftmax:
      softmax_gradient(x, 1, dy, false, dx, d);
      break;
    case FeatureMap::kSoftmaxPair:
      softmax_gradient(x, 1, dy, false, dx, d);
      softmax_gradient(x, -1, dy + d, true, dx, d);
      break;
  }
}

void map_rows(const FeatureMapArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    const int width = feature_width(args.map, args.d);
    for (int head = 0; head < args.heads; ++head, x += args.d, y += width) map_head(args.map, x, y, args.d);
  }
}

void map_rows_backward(const FeatureMapBackwardArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.x_stride;
    const float* dy = args.dy + row * args.dy_stride;
    float* dx = args.dx + row * args.dx_stride;
    const int width = feature_width(args.map, args.d);
    for (int head = 0; head < args.heads; ++head, x += args.d, dx += args.d, dy += width) {
      map_head_backward(args.map, x, dy, dx, args.d);
    }
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(map_rows);
HWY_EXPORT(map_rows_backward);

void feature_map_cpu(ThreadPool& pool, const FeatureMapArgs& args) {
  const std::int64_t width = std::int64_t{args.heads} * feature_width(args.map, args.d);
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(map_rows)(args, first, last);
  });
}

void feature_map_backward_cpu(ThreadPool& pool, const FeatureMapBackwardArgs& args) {
  const std::int64_t width = std::int64_t{args.heads} * feature_width(args.map, args.d);
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(map_rows_backward)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
