#include "kernels/gemm/operand.h"

#include <cstring>

#include "kernels/cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/operand.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for every instruction set.
#include <hwy/highway.h>

#include "kernels/gemm/round-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

void round_operand_row(const float* x, std::int64_t k, bf16* out) {
  round_row(x, k, out);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(round_operand_row);

void pack_operand_row(const float* x, std::int64_t k, std::int64_t padded_k, DType dtype, std::byte* out) {
  const auto used = static_cast<std::size_t>(k) * size_of(dtype);
  if (dtype == DType::kBf16) {
    HWY_DYNAMIC_DISPATCH(round_operand_row)(x, k, reinterpret_cast<bf16*>(out));
  } else {
    std::memcpy(out, x, used);
  }
  std::memset(out + used, 0, static_cast<std::size_t>(padded_k) * size_of(dtype) - used);
}

}  // namespace dslad::kernels
#endif
