// The rows of x as the kernels read them: rounded to W's type, K padded with zeros to W's blocks.
//
// Thread-safe for disjoint rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels {

// Writes padded_k elements of `dtype` at `out`: K of them from x, then zeros.
void pack_operand_row(const float* x, std::int64_t k, std::int64_t padded_k, DType dtype, std::byte* out);

}  // namespace dslad::kernels
