#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/rope/rope.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rope/rope_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void rotate_head(float* low, float* high, const float* cos, const float* sin, float turn, std::int64_t half) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = 0;
  for (; j + lanes <= half; j += lanes) {
    const auto x = hn::LoadU(d, low + j), y = hn::LoadU(d, high + j);
    const auto c = hn::LoadU(d, cos + j), s = hn::Mul(hn::LoadU(d, sin + j), hn::Set(d, turn));
    hn::StoreU(hn::Sub(hn::Mul(x, c), hn::Mul(y, s)), d, low + j);
    hn::StoreU(hn::Add(hn::Mul(y, c), hn::Mul(x, s)), d, high + j);
  }
  for (; j < half; ++j) {
    const float x = low[j], y = high[j], s = sin[j] * turn;
    low[j] = x * cos[j] - y * s;
    high[j] = y * cos[j] + x * s;
  }
}

void rotate_rows(const RopeArgs& args, std::int64_t first, std::int64_t last) {
  const std::int64_t half = args.table->half();
  const float turn = args.inverse ? -1.0f : 1.0f;
  for (std::int64_t row = first; row < last; ++row) {
    const float* cos = args.table->cos(args.positions[row]);
    const float* sin = args.table->sin(args.positions[row]);
    float* x = args.x + row * args.x_stride;
    for (int head = 0; head < args.heads; ++head, x += 2 * half)
      rotate_head(x, x + half, cos, sin, turn, half);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(rotate_rows);

void rope_cpu(ThreadPool& pool, const RopeArgs& args) {
  const std::int64_t width = 2 * args.table->half() * args.heads;
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(rotate_rows)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
