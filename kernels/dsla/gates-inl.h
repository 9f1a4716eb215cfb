// Log-gates of one token and one state, for code that is compiled once per instruction set.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_DSLA_GATES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_DSLA_GATES_INL_H_
#undef DSLAD_KERNELS_DSLA_GATES_INL_H_
#else
#define DSLAD_KERNELS_DSLA_GATES_INL_H_
#endif

// clang-format off
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include "kernels/dsla/dsla.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// log a = max(logsigmoid(x) / tau, lowest) with logsigmoid(x) = min(x, 0) - log(1 + exp(-|x|)): the
// exponential never overflows, so logits of +-800 are ordinary values.
template <class D>
HWY_INLINE hn::Vec<D> log_gate(D d, hn::Vec<D> logit) {
  const auto tail = hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(logit))));
  const auto log_sigmoid = hn::Sub(hn::Min(logit, hn::Zero(d)), tail);
  return hn::Max(hn::Mul(log_sigmoid, hn::Set(d, 1.0f / kGateTemperature)), hn::Set(d, kMinLogGate));
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
