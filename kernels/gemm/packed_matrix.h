// A weight matrix W [N, K] in the layout that both our decode kernel and oneDNN read, packed once at load.
//
// Layout: N in panels of 64 columns, K in blocks: for bf16 [N/64][K/32][16][64][2] (oneDNN's BA16a64b2a with
// K as a and N as b), for f32 [N/64][K/16][16][64] (BA16a64b). N and K are padded with zeros to whole blocks.
// Thread safety: const after packing. Invariant: padding is zero; data is 64-byte aligned. Without enough
// memory data() is null: a loader checks it after construction.
#pragma once

#include <cstdint>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/tensor.h"

namespace dslad::kernels {

inline constexpr std::int64_t kPanel = 64;  // columns of W that lie together

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // REQUIRES: n > 0, k > 0. Allocates bytes() of zeros.
  PackedMatrix(std::int64_t n, std::int64_t k, DType dtype);

  // Bytes that a packed [n, k] takes; for memory budgets before anything is allocated.
  static std::size_t packed_bytes(std::int64_t n, std::int64_t k, DType dtype);

  // Packs rows [first, first + rows) of W from row-major [rows, K]; converts (to nearest) where the types
  // differ. REQUIRES: first + rows <= n(). Calls on disjoint ranges of whole panels may run concurrently.
  void pack_rows(std::int64_t first, std::int64_t rows, const float* source);
  void pack_rows(std::int64_t first, std::int64_t rows, const bf16* source);

  // Writes row `row` of W as K floats: the embedding look-up of tied weights.
  void unpack_row(std::int64_t row, float* out) const;

  [[nodiscard]] std::int64_t n() const { return n_; }
  [[nodiscard]] std::int64_t k() const { return k_; }
  [[nodiscard]] std::int64_t padded_n() const;
  [[nodiscard]] std::int64_t padded_k() const;  // to 32 for bf16, 16 for f32
  [[nodiscard]] DType dtype() const { return dtype_; }
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] const void* data() const { return data_.get(); }

 private:
  std::int64_t n_ = 0, k_ = 0;
  DType dtype_ = DType::kF32;
  AlignedBuffer data_ = empty_buffer();
};

}  // namespace dslad::kernels
