#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/simd_targets.h"
#include "kernels/mlp/swiglu_backward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/mlp/swiglu_backward_cpu.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "kernels/cpu/for_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sigmoid and its complement from exp(-|x|), which never overflows and leaves both of them their small
// values.
void swiglu_gradients(const SwiGluBackwardArgs& args, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = first; row < last; ++row) {
    const float* gates = args.gate_up + row * args.x_stride;
    const float* ups = gates + args.width;
    const float* dys = args.dy + row * args.dy_stride;
    float* d_gates = args.d_gate_up + row * args.dx_stride;
    float* d_ups = d_gates + args.width;
    for_lanes(args.width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto gate = hn::LoadU(d, gates + i), up = hn::LoadU(d, ups + i), dy = hn::LoadU(d, dys + i);
      const auto one = hn::Set(d, 1.0f), small = hn::Exp(d, hn::Neg(hn::Abs(gate)));
      const auto larger = hn::Div(one, hn::Add(one, small)), smaller = hn::Mul(small, larger);
      const auto negative = hn::Lt(gate, hn::Zero(d));
      const auto s = hn::IfThenElse(negative, smaller, larger);
      const auto rest = hn::IfThenElse(negative, larger, smaller);
      const auto slope = hn::Mul(s, hn::MulAdd(gate, rest, one));
      hn::StoreU(hn::Mul(hn::Mul(dy, up), slope), d, d_gates + i);
      hn::StoreU(hn::Mul(dy, hn::Mul(gate, s)), d, d_ups + i);
    });
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(swiglu_gradients);

void swiglu_backward_cpu(ThreadPool& pool, const SwiGluBackwardArgs& args) {
  parallel_rows(pool, args.rows, args.width, [&](std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(swiglu_gradients)(args, first, last);
  });
}

}  // namespace dslad::kernels
#endif
