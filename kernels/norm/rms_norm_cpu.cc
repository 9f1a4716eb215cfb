#include <cmath>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/norm/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm/rms_norm_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four sums hide the latency of the additions; their order depends on the width alone.
float sum_of_squares(const float* x, std::int64_t width) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= width; i += 4 * lanes) {
    const auto x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + lanes);
    const auto x2 = hn::LoadU(d, x + i + 2 * lanes), x3 = hn::LoadU(d, x + i + 3 * lanes);
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  for (; i + lanes <= width; i += lanes) {
    const auto x0 = hn::LoadU(d, x + i);
    sum0 = hn::MulAdd(x0, x0, sum0);
  }
  const auto total = hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3)));
  float sum = hn::GetLane(total);
  for (; i < width; ++i) sum += x[i] * x[i];
  return sum;
}

void normalize_row(const float* x, const float* weight, float* y, std::int64_t width, float eps) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float scale = 1.0f / std::sqrt(sum_of_squares(x, width) / static_cast<float>(width) + eps);
  const auto scales = hn::Set(d, scale);
  std::int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const auto scaled = hn::Mul(hn::LoadU(d, x + i), scales);
    hn::StoreU(hn::Mul(scaled, hn::LoadU(d, weight + i)), d, y + i);
  }
  for (; i < width; ++i) y[i] = x[i] * scale * weight[i];
}

void normalize_rows(const RmsNormArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* x = args.x + row * args.x_stride;
    float* y = args.y + row * args.y_stride;
    for (std::int64_t group = 0; group < args.groups; ++group, x += args.width, y += args.width)
      normalize_row(x, args.weight, y, args.width, args.eps);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(normalize_rows);

void rms_norm_cpu(ThreadPool& pool, const RmsNormArgs& args) {
  parallel_rows(pool, args.rows, args.groups * args.width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(normalize_rows)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
