// GGUF's quantized types: blocks of 32 or 256 values that share scales.
//
//   Q4_0  d * (q - 8)         16-bit float d, 4-bit q          Q5_0  d * (q - 16)        5-bit q
//   Q4_1  d * q + m           and a 16-bit float minimum m     Q5_1  d * q + m
//   Q8_0  d * q               8-bit q
//   Q4_K, Q5_K  (d * s) * q - (dmin * m)    8 groups of 32 with 6-bit s and m of their own
//   Q6_K        (d * s) * (q - 32)          16 groups of 16 with 8-bit s
// Products in the order written, in float32, so that values are those of the format's own reader.
// Source of the layouts: github.com/ggml-org/ggml, ggml-common.h. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "worker/model/stored_tensor.h"

namespace dslad::worker {

inline constexpr StoredBlock kBlockQ4_0{32, 2 + 16}, kBlockQ4_1{32, 4 + 16}, kBlockQ5_0{32, 2 + 4 + 16},
    kBlockQ5_1{32, 4 + 4 + 16}, kBlockQ8_0{32, 2 + 32}, kBlockQ4K{256, 4 + 12 + 128},
    kBlockQ5K{256, 4 + 12 + 32 + 128}, kBlockQ6K{256, 128 + 64 + 16 + 2};

// `blocks` blocks of `in` as float32. REQUIRES: a type of those above.
void read_blocks(StoredType type, const std::byte* in, std::int64_t blocks, float* out);

}  // namespace dslad::worker
