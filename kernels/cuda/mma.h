// Products of float32 operands by the tensor cores' bf16 instruction, in one part or in two.
//
// One part rounds an operand to bf16: 8 bits of it count. Two parts are x = high + low, each bf16: 16 bits
// count, for three instructions in place of one (low times low is below what is kept). Operands that are bf16
// anyhow take one. A fragment is one lane's share of a matrix, as the instruction wants it (device_on_host.h
// draws the layout).
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

template <class T>
inline constexpr int kPartsOf = std::is_same_v<T, float> ? 2 : 1;

template <int kParts>
struct FragmentA {  // 16 x 16
  std::uint32_t part[kParts][4];
};
template <int kParts>
struct FragmentB {  // 16 x 8
  std::uint32_t part[kParts][2];
};

// The parts of two neighbours, part[p][r] of each fragment.
template <int kParts, class Parts>
DSLAD_DEVICE void split(float x, float y, Parts& part, int r) {
  part[0][r] = pack_bf16(x, y);
  if constexpr (kParts == 2) {
    const float high_x = to_float(bf16{static_cast<std::uint16_t>(part[0][r])});
    const float high_y = to_float(bf16{static_cast<std::uint16_t>(part[0][r] >> 16)});
    part[1][r] = pack_bf16(x - high_x, y - high_y);
  }
}

// part[p] of one element.
template <int kParts>
DSLAD_DEVICE bf16 part_of(float x, int p) {
  const bf16 high{static_cast<std::uint16_t>(pack_bf16(x, 0.0f))};
  return p == 0 ? high : bf16{static_cast<std::uint16_t>(pack_bf16(x - to_float(high), 0.0f))};
}

// From at(row, k), which is called for even k and gives the elements k and k + 1 of a row.
template <int kParts, class At>
DSLAD_DEVICE FragmentA<kParts> fragment_a(const At& at) {
  const int row = thread_index() % kWarp / 4, k = thread_index() % 4 * 2;
  FragmentA<kParts> a;
  DSLAD_UNROLL for (int r = 0; r < 4; ++r) {
    const auto [x, y] = at(row + r % 2 * 8, k + r / 2 * 8);
    split<kParts>(x, y, a.part, r);
  }
  return a;
}

// From at(k, column), which is called for even k and gives the elements k and k + 1 of a column.
template <int kParts, class At>
DSLAD_DEVICE FragmentB<kParts> fragment_b(const At& at) {
  const int column = thread_index() % kWarp / 4, k = thread_index() % 4 * 2;
  FragmentB<kParts> b;
  DSLAD_UNROLL for (int r = 0; r < 2; ++r) {
    const auto [x, y] = at(k + r * 8, column);
    split<kParts>(x, y, b.part, r);
  }
  return b;
}

struct Pair {
  float x, y;
};

// c += a b, small products first.
template <int kParts>
DSLAD_DEVICE void multiply(float (&c)[4], const FragmentA<kParts>& a, const FragmentB<kParts>& b) {
  if constexpr (kParts == 2) {
    mma_16x8x16(c, a.part[1], b.part[0]);
    mma_16x8x16(c, a.part[0], b.part[1]);
  }
  mma_16x8x16(c, a.part[0], b.part[0]);
}

// Fragments of the 16 x 16 elements at `matrix`, row by row in shared memory, every row aligned to 16 bytes:
// the left eight columns, and the right ones. Parts lie `part_stride` elements apart, rows `row_stride`.
template <int kParts>
struct TwoFragmentsB {
  FragmentB<kParts> left, right;
};
template <int kParts>
DSLAD_DEVICE TwoFragmentsB<kParts> load_fragments_b(const bf16* matrix, int row_stride, int part_stride) {
  const int lane = thread_index() % kWarp;
  TwoFragmentsB<kParts> b;
  DSLAD_UNROLL for (int p = 0; p < kParts; ++p) {
    std::uint32_t r[4];
    load_matrix_transposed(r, matrix + p * part_stride + lane % 16 * row_stride + lane / 16 * 8);
    b.left.part[p][0] = r[0];
    b.left.part[p][1] = r[1];
    b.right.part[p][0] = r[2];
    b.right.part[p][1] = r[3];
  }
  return b;
}

}  // namespace dslad::kernels::cuda
