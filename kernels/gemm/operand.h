// The rows of x as the kernels read them: in what W's format wants, K padded to W's blocks.
//
// Thread-safe for disjoint rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/weight_format.h"

namespace dslad::kernels {

// Bytes of a packed row; REQUIRES: padded_k is a packed matrix's of this format.
constexpr std::int64_t operand_bytes(WeightFormat format, std::int64_t padded_k) {
  return padded_k / step_layout(format).values * step_layout(format).row_bytes;
}

// Writes operand_bytes at `out`: K values from x, rounded (bf16) or quantized by groups (int8, int4), then
// zeros.
void pack_operand_row(const float* x, std::int64_t k, std::int64_t padded_k, WeightFormat format,
                      std::byte* out);

}  // namespace dslad::kernels
