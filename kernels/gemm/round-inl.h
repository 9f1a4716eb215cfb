// Rounding to bf16 as to_bf16() of tensor.h does it, for code that is compiled once per instruction set.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_GEMM_ROUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_GEMM_ROUND_INL_H_
#undef DSLAD_KERNELS_GEMM_ROUND_INL_H_
#else
#define DSLAD_KERNELS_GEMM_ROUND_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The bits of each lane's bf16, in the lower half of 32.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> rounded_bits(D, hn::Vec<D> value) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, value);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto bias = hn::Add(hn::Set(du, 0x7fffu), hn::And(upper, hn::Set(du, 1u)));
  const auto is_number = hn::RebindMask(du, hn::Eq(value, value));
  return hn::IfThenElse(is_number, hn::ShiftRight<16>(hn::Add(bits, bias)),
                        hn::Or(upper, hn::Set(du, 0x40u)));
}

HWY_INLINE void round_row(const float* x, std::int64_t k, bf16* out) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<std::uint16_t, decltype(d)> half;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= k; i += lanes) {
    const auto result = rounded_bits(d, hn::LoadU(d, x + i));
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<decltype(d)>(), result)), half,
               reinterpret_cast<std::uint16_t*>(out + i));
  }
  for (; i < k; ++i) out[i] = to_bf16(x[i]);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
