// Four floats at a time, 16 bytes where memory allows it: what a thread of a memory-bound kernel loads at
// once.
#pragma once

#include "kernels/cuda/device.h"

namespace dslad::kernels::cuda {

struct alignas(16) Float4 {
  float at[4];
};

// Whether rows that begin `stride` floats apart may be read in pieces of 16 bytes.
DSLAD_DEVICE bool rows_are_aligned(const float* x, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && stride % 4 == 0;
}

// The first `count` of four floats (all if more); the others are 0. `aligned`: x is, to 16 bytes.
DSLAD_DEVICE Float4 load4(const float* x, std::int64_t count, bool aligned) {
  if (aligned && count >= 4) return *reinterpret_cast<const Float4*>(x);
  Float4 y{};
  for (int i = 0; i < 4; ++i) {
    if (i < count) y.at[i] = x[i];
  }
  return y;
}

DSLAD_DEVICE void store4(float* x, const Float4& y, std::int64_t count, bool aligned) {
  if (aligned && count >= 4) {
    store16(x, y.at);
    return;
  }
  for (int i = 0; i < 4; ++i) {
    if (i < count) x[i] = y.at[i];
  }
}

// The grid of kernels whose blocks of kThreads threads take four elements a thread of one row: [row, part].
template <int kThreads>
Grid row_grid(std::int64_t rows, std::int64_t width) {
  return {rows, (width + 4 * kThreads - 1) / (4 * kThreads), 1};
}

// The first element of this thread in its row.
template <int kThreads>
DSLAD_DEVICE std::int64_t row_element() {
  return (block_index().y * kThreads + thread_index()) * 4;
}

}  // namespace dslad::kernels::cuda
