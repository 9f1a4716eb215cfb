// A weight matrix W [N, K] on the CPU, in the layout that our decode kernel and, for f32 and bf16, oneDNN
// read, packed once at load.
//
// Layout: N in panels of 64 columns, which advance along K in steps (weight_format.h):
//   f32   [N/64][K/16][16][64]: a step is one value of K         (oneDNN's BA16a64b, K as a and N as b)
//   bf16  [N/64][K/32][16][64][2]: a step is a pair                             (oneDNN's BA16a64b2a)
//   int8  [N/64][K/32]{u [8][64][4] u8, d [64] f16}: a step is a group of 32
//   int4  [N/64][K/32]{u [4][64][4] u8, d [64] f16, m [64] f16}: the same; byte [i][n][j] holds value 4i + j
//         of the group in its lower four bits, value 16 + 4i + j in its upper ones
// N and K are padded to whole blocks, with zeros but within a last group (quantized_group.h).
// Thread safety: const after packing. Invariant: data is 64-byte aligned. Without enough memory data() is
// null: a loader checks it after construction.
#pragma once

#include <cstdint>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/gemm/weight_matrix.h"
#include "kernels/tensor.h"

namespace dslad::kernels {

inline constexpr std::int64_t kPanel = 64;  // columns of W that lie together

class PackedMatrix final : public WeightMatrix {
 public:
  PackedMatrix() = default;
  // REQUIRES: n > 0, k > 0. Allocates bytes() of zeros.
  PackedMatrix(std::int64_t n, std::int64_t k, WeightFormat format);

  // Bytes that a packed [n, k] takes; for memory budgets before anything is allocated.
  static std::size_t packed_bytes(std::int64_t n, std::int64_t k, WeightFormat format);

  void pack_rows(std::int64_t first, std::int64_t rows, const float* source) override;

  // Writes row `row` of W as K floats: the embedding look-up of tied weights.
  void unpack_row(std::int64_t row, float* out) const;

  [[nodiscard]] std::int64_t padded_n() const;
  [[nodiscard]] std::int64_t padded_k() const;  // to 16 for f32, else 32
  [[nodiscard]] std::int64_t panels() const { return padded_n() / kPanel; }
  [[nodiscard]] std::size_t bytes() const override;
  [[nodiscard]] const void* data() const { return data_.get(); }
  // The first step of a panel.
  [[nodiscard]] const std::byte* panel(std::int64_t panel) const;

 private:
  [[nodiscard]] std::int64_t steps() const { return padded_k() / step_layout(format()).values; }
  [[nodiscard]] std::byte* panel_at(std::int64_t row) const;  // that the row lies in
  void pack_groups(std::int64_t row, const float* source);

  AlignedBuffer data_ = empty_buffer();
};

}  // namespace dslad::kernels
