// Writes a safetensors file (safetensors.h has the grammar) as one atomic replacement (files/atomic_file.h).
//
// The data begins at a multiple of 8 bytes, float32 tensors lie before bf16 ones: each tensor is aligned to
// its elements. Two calls with the same tensors give the same bytes. Safe from any thread, one writer of a
// path at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/tensor.h"

namespace dslad::worker {

struct TensorToWrite {
  std::string name;
  std::vector<std::int64_t> shape;
  std::span<const float> values;  // row-major; REQUIRES: as many as the shape says
  kernels::DType dtype;           // as stored; bf16 rounds to nearest
};

// Returns the checksum of the file's bytes (Digest in digest.h, what `xxh128sum` prints).
// Errors: kResourceExhausted (disk full), kNotFound (no such folder), kUnavailable; the old file stays.
Result<std::string> write_safetensors(const std::filesystem::path& path,
                                      std::span<const TensorToWrite> tensors);

}  // namespace dslad::worker
