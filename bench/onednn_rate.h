// What oneDNN reaches with the layout and the threads that it likes best: the limit that prefill is held
// against.
#pragma once

#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::bench {

// Seconds of one product [rows, k] x [k, n], the fastest of a few; in f32 where oneDNN has none in bf16 on
// this machine (before AVX-512). On a thread of its own: the OpenMP thread count belongs to the calling
// thread, and our kernels set it to one.
double onednn_seconds(std::int64_t n, std::int64_t k, kernels::DType dtype, std::int64_t rows, int threads);

}  // namespace dslad::bench
