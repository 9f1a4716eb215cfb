// Packs an operand that lies row-major in memory, transposed or not, into what the kernels read.
//
// A line is what runs along K: a row of op(A) or a column of op(B). As in tile_kernel.h a step along K takes
// 4 bytes of a line, one f32 or a pair of bf16. Thread-safe for disjoint outputs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tensor.h"

namespace dslad::kernels {

struct Lines {
  const std::byte* data;  // first element of the first line
  DType dtype;
  std::int64_t line_stride, k_stride;  // elements; one of them is 1
  std::int64_t count;                  // lines
  std::int64_t k;                      // elements of a line

  // Lines [first, first + lines), elements [from, from + elements) of each.
  [[nodiscard]] Lines part(std::int64_t first, std::int64_t lines, std::int64_t from,
                           std::int64_t elements) const {
    const std::int64_t offset = first * line_stride + from * k_stride;
    return {data + offset * static_cast<std::int64_t>(size_of(dtype)),
            dtype,
            line_stride,
            k_stride,
            lines,
            elements};
  }
};

// out: [padded, steps] steps, line after line. Elements beyond K and lines beyond `count` are zeros.
// REQUIRES: 2 * steps >= K for bf16, steps >= K for f32; count <= padded < count + 64; padded and steps are
// multiples of 4; bf16 is not packed to f32.
void pack_lines(const Lines& lines, std::int64_t padded, DType to, std::int64_t steps, std::byte* out);

// out: one panel of packed_matrix.h, [steps, 64] steps, with zeros as above. REQUIRES: as above, count <= 64.
void pack_panel(const Lines& lines, DType to, std::int64_t steps, std::byte* out);

}  // namespace dslad::kernels
