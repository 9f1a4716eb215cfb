#include "kernels/gemm/operand.h"

#include <cstring>

#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/operand.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// to_bf16() of tensor.h, lane by lane.
void round_row(const float* x, std::int64_t k, bf16* out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<std::uint16_t, decltype(d)> half;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto one = hn::Set(du, 1u), bias = hn::Set(du, 0x7fffu), quiet = hn::Set(du, 0x40u);
  std::int64_t i = 0;
  for (; i + lanes <= k; i += lanes) {
    const auto value = hn::LoadU(d, x + i);
    const auto bits = hn::BitCast(du, value);
    const auto upper = hn::ShiftRight<16>(bits);
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(bias, hn::And(upper, one))));
    const auto is_number = hn::RebindMask(du, hn::Eq(value, value));
    const auto result = hn::IfThenElse(is_number, rounded, hn::Or(upper, quiet));
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<decltype(d)>(), result)), half,
               reinterpret_cast<std::uint16_t*>(out + i));
  }
  for (; i < k; ++i) out[i] = to_bf16(x[i]);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(round_row);

void pack_operand_row(const float* x, std::int64_t k, std::int64_t padded_k, DType dtype, std::byte* out) {
  const auto used = static_cast<std::size_t>(k) * size_of(dtype);
  if (dtype == DType::kBf16) {
    HWY_DYNAMIC_DISPATCH(round_row)(x, k, reinterpret_cast<bf16*>(out));
  } else {
    std::memcpy(out, x, used);
  }
  std::memset(out + used, 0, static_cast<std::size_t>(padded_k) * size_of(dtype) - used);
}

}  // namespace dslad::kernels
#endif
