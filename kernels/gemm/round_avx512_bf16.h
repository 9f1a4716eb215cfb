// Rounding to bf16 by the instruction of AVX-512 BF16: a fifth of the work of doing it with integers.
//
// As to_bf16() of tensor.h, but denormals become zero, which they count as in that machine's products anyway.
// REQUIRES: has_avx512_bf16(). Thread-safe.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels {

// False where the compiler or the machine lacks it.
bool has_avx512_bf16();

void round_line_avx512_bf16(const float* x, std::int64_t k, bf16* out);

// out[i]: low[i] in the lower half, high[i] in the upper.
void round_pairs_avx512_bf16(const float* low, const float* high, std::int64_t n, std::uint32_t* out);

}  // namespace dslad::kernels
