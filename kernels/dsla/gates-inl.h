// Log-gates and their derivative, for code that is compiled once per instruction set.

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
// exponential never overflows, so logits of +-800 are ordinary values. NaN for NaN, which Min would lose.
template <class D>
HWY_INLINE hn::Vec<D> log_gate(D d, hn::Vec<D> logit) {
  const auto tail = hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(logit))));
  const auto log_sigmoid = hn::Sub(hn::Min(logit, hn::Zero(d)), tail);
  const auto scaled = hn::Mul(log_sigmoid, hn::Set(d, 1.0f / kGateTemperature));
  return hn::IfThenElse(hn::IsNaN(logit), logit, hn::Max(scaled, hn::Set(d, kMinLogGate)));
}

// a = exp(log a). NaN for NaN, where Highway's exponential is 0: a diverged gate must not look like a closed
// one.
template <class D>
HWY_INLINE hn::Vec<D> gate_of(D d, hn::Vec<D> log_a) {
  return hn::Add(hn::Exp(d, log_a), hn::Sub(log_a, log_a));
}

// d log a / d x = sigmoid(-x) / tau, and 0 where the clamp is active: far below zero logsigmoid(x) is x.
template <class D>
HWY_INLINE hn::Vec<D> log_gate_slope(D d, hn::Vec<D> logit) {
  const auto one = hn::Set(d, 1.0f);
  const auto tail = hn::Exp(d, hn::Neg(hn::Abs(logit)));
  const auto above = hn::IfThenElse(hn::Gt(logit, hn::Zero(d)), tail, one);
  const auto slope = hn::Div(hn::Mul(above, hn::Set(d, 1.0f / kGateTemperature)), hn::Add(one, tail));
  const auto free = hn::Gt(logit, hn::Set(d, kMinLogGate * kGateTemperature));
  return hn::IfThenElseZero(free, slope);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
