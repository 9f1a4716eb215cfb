// What cuBLASLt is for on a GPU, by a plain sum: what gemm_by_blocks() asks of who multiplies.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/gemm/cuda/gemm_on_device.h"

namespace dslad::kernels::cuda::testing {

template <class T>
float as_float(const void* values, std::int64_t at) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<const float*>(values)[at];
  } else {
    return to_float(static_cast<const T*>(values)[at]);
  }
}

template <class T>
void plain_product_of(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy, bool accumulate) {
  for (std::int64_t row = 0; row < m; ++row) {
    const T* x = static_cast<const T*>(args.rounded) + row * args.k;
    // Rows of zeros, of which decode has many, take no time.
    const bool is_zero = std::all_of(x, x + args.k, [](T value) { return as_float<T>(&value, 0) == 0; });
    for (std::int64_t n = 0; n < args.n; ++n) {
      float sum = 0;
      for (std::int64_t k = 0; !is_zero && k < args.k; ++k)
        sum += as_float<T>(x, k) * as_float<T>(args.w, n * args.k + k);
      float& to = y[row * ldy + n];
      to = accumulate ? to + sum : sum;
    }
  }
}

inline void plain_product(const GemmOnDevice& args, std::int64_t m, float* y, std::int64_t ldy,
                          bool accumulate) {
  if (args.dtype == DType::kF32) return plain_product_of<float>(args, m, y, ldy, accumulate);
  plain_product_of<bf16>(args, m, y, ldy, accumulate);
}

}  // namespace dslad::kernels::cuda::testing
