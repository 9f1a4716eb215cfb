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

constexpr float kUnitEps = 1e-6f;

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

// exp(min(x, 0)): nothing overflows for elements that do not use it.
template <class D>
HWY_INLINE hn::Vec<D> exp_of_negative(D d, hn::Vec<D> x) {
  return hn::Exp(d, hn::Min(x, hn::Zero(d)));
}

void elu(const float* x, float* y, std::int64_t n) {
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, x + i);
    const auto line = hn::Add(value, hn::Set(d, 1.0f));
    hn::StoreU(hn::IfThenElse(hn::Le(value, hn::Zero(d)), exp_of_negative(d, value), line), d, y + i);
  });
}

void elu_gradient(const float* x, const float* dy, float* dx, std::int64_t n) {
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, dy + i), exp_of_negative(d, hn::LoadU(d, x + i))), d, dx + i);
  });
}

// exp(x - largest) of one head; NaN for NaN, where Highway's exponential is 0.
struct Softened {
  const float* x;
  float largest;
  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, std::int64_t i) const {
    const auto below = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, largest));
    return hn::Add(hn::Exp(d, below), hn::Sub(below, below));
  }
};

void softmax(const float* x, float* y, std::int64_t n) {
  const Softened e{x, *std::max_element(x, x + n)};
  const float sum = sum_over(n, e);
  for_lanes(
      n, [&](auto d, std::int64_t i) HWY_ATTR { hn::StoreU(hn::Div(e(d, i), hn::Set(d, sum)), d, y + i); });
}

void softmax_gradient(const float* x, const float* dy, float* dx, std::int64_t n) {
  const Softened e{x, *std::max_element(x, x + n)};
  const float sum = sum_over(n, e);
  const float mean =
      sum_over(n, [&](auto d, std::int64_t i) HWY_ATTR { return hn::Mul(e(d, i), hn::LoadU(d, dy + i)); }) /
      sum;
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto y = hn::Div(e(d, i), hn::Set(d, sum));
    hn::StoreU(hn::Mul(y, hn::Sub(hn::LoadU(d, dy + i), hn::Set(d, mean))), d, dx + i);
  });
}

float sum_of_products(const float* a, const float* b, std::int64_t n) {
  return sum_over(
      n, [&](auto d, std::int64_t i) HWY_ATTR { return hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)); });
}

void unit(const float* x, float* y, std::int64_t n) {
  const float r = 1.0f / std::sqrt(sum_of_products(x, x, n) + kUnitEps);
  for_lanes(n, [&](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, r)), d, y + i); });
}

void unit_gradient(const float* x, const float* dy, float* dx, std::int64_t n) {
  const float r = 1.0f / std::sqrt(sum_of_products(x, x, n) + kUnitEps);
  const float along = sum_of_products(x, dy, n) * r * r;
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto across = hn::NegMulAdd(hn::LoadU(d, x + i), hn::Set(d, along), hn::LoadU(d, dy + i));
    hn::StoreU(hn::Mul(across, hn::Set(d, r)), d, dx + i);
  });
}

void map_head(FeatureMap map, const float* x, float* y, std::int64_t d) {
  switch (map) {
    case FeatureMap::kNone:
      if (y != x) std::copy_n(x, d, y);
      break;
    case FeatureMap::kElu:
      elu(x, y, d);
      break;
    case FeatureMap::kSoftmax:
      softmax(x, y, d);
      break;
    case FeatureMap::kUnit:
      unit(x, y, d);
      break;
  }
}

void map_head_backward(FeatureMap map, const float* x, const float* dy, float* dx, std::int64_t d) {
  switch (map) {
    case FeatureMap::kNone:
      if (dx != dy) std::copy_n(dy, d, dx);
      break;
    case FeatureMap::kElu:
      elu_gradient(x, dy, dx, d);
      break;
    case FeatureMap::kSoftmax:
      softmax_gradient(x, dy, dx, d);
      break;
    case FeatureMap::kUnit:
      unit_gradient(x, dy, dx, d);
      break;
  }
}

void map_rows(const FeatureMapArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    for (int head = 0; head < args.heads; ++head, x += args.d, y += args.d) map_head(args.map, x, y, args.d);
  }
}

void map_rows_backward(const FeatureMapBackwardArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    for (int head = 0; head < args.heads; ++head) {
      const std::int64_t at = std::int64_t{head} * args.d;
      map_head_backward(args.map, args.x + row * args.x_stride + at, args.dy + row * args.dy_stride + at,
                        args.dx + row * args.dx_stride + at, args.d);
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
  const std::int64_t width = std::int64_t{args.heads} * args.d;
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(map_rows)(args, first, last);
  });
}

void feature_map_backward_cpu(ThreadPool& pool, const FeatureMapBackwardArgs& args) {
  const std::int64_t width = std::int64_t{args.heads} * args.d;
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(map_rows_backward)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
