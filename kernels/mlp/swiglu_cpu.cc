#include <cmath>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/mlp/swiglu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/mlp/swiglu_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Below this silu is 0 within what float32 can tell, and exp(-x) overflows.
constexpr float kLowestGate = -88.0f;

void gate_row(const float* gate, const float* up, float* y, std::int64_t width) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(d, 1.0f), lowest = hn::Set(d, kLowestGate);
  std::int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const auto x = hn::LoadU(d, gate + i);
    const auto silu = hn::Div(x, hn::Add(one, hn::Exp(d, hn::Neg(x))));
    const auto gated = hn::IfThenZeroElse(hn::Lt(x, lowest), silu);
    hn::StoreU(hn::Mul(gated, hn::LoadU(d, up + i)), d, y + i);
  }
  for (; i < width; ++i) y[i] = gate[i] < kLowestGate ? 0.0f : gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

void gate_rows(const SwiGluArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* gate = args.gate_up + row * args.x_stride;
    gate_row(gate, gate + args.width, args.y + row * args.y_stride, args.width);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(gate_rows);

void swiglu_cpu(ThreadPool& pool, const SwiGluArgs& args) {
  parallel_rows(pool, args.rows, args.width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(gate_rows)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
