#include "kernels/gemm/operand.h"

#include <cstring>

#include "kernels/cpu/simd_targets.h"
#include "kernels/gemm/quantized_group.h"

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

void pack_operand_row(const float* x, std::int64_t k, std::int64_t padded_k, WeightFormat format,
                      std::byte* out) {
  std::int64_t used = 0;
  switch (format) {
    case WeightFormat::kF32:
      used = k * static_cast<std::int64_t>(sizeof(float));
      if (k > 0) std::memcpy(out, x, static_cast<std::size_t>(used));
      break;
    case WeightFormat::kBf16:
      used = k * static_cast<std::int64_t>(sizeof(bf16));
      HWY_DYNAMIC_DISPATCH(round_operand_row)(x, k, reinterpret_cast<bf16*>(out));
      break;
    case WeightFormat::kInt8:
    case WeightFormat::kInt4:
      used = operand_bytes(format, (k + kGroup - 1) / kGroup * kGroup);
      quantize_row(x, k, reinterpret_cast<RowGroup*>(out));
      break;
  }
  std::memset(out + used, 0, static_cast<std::size_t>(operand_bytes(format, padded_k) - used));
}

}  // namespace dslad::kernels
#endif
