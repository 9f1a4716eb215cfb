// Groups of 32 values along K that share a scale: those of weights, and those of rows of x beside them.
//
// Pure; thread-safe. Results are the same on every machine, but that weights of 4 bits may differ in the
// search for their scale where there is no fused multiply-add.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/gemm/weight_format.h"

namespace dslad::kernels {

// x = scale q. As the kernels read it: step_layout's row_bytes.
struct RowGroup {
  std::array<std::int8_t, kGroup> q;  // in [-127, 127]
  float scale;
  std::int32_t sum;  // of q
};
static_assert(sizeof(RowGroup) == 40);

// w = scale u + offset.
struct WeightGroup {
  std::array<std::uint8_t, kGroup> u;
  f16 scale;
  f16 offset;  // int4; int8 has -128 scale instead
};

// The nearest values; where K ends within the group, `count` of them, the others repeat the first. int4: the
// scale and the offset that leave the least squared error of some dozens. REQUIRES: 0 < count <= 32, finite
// values.
WeightGroup quantize_int8(const float* w, std::int64_t count);
WeightGroup quantize_int4(const float* w, std::int64_t count);

// K values of x as ceil(K / 32) groups, the last filled up with zeros. The scale of a group with a value that
// is not finite is NaN, and so is all that is made from it.
void quantize_row(const float* x, std::int64_t k, RowGroup* out);

// `groups` groups of a panel of int8 or int4 weights, as a panel of bf16 (packed_matrix.h) holds them.
void widen_panel(const std::byte* panel, std::int64_t groups, WeightFormat format, bf16* out);

}  // namespace dslad::kernels
