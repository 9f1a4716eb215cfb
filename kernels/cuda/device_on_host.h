// device.h for the host: everything is made of seven functions that an executor defines
// (tests/kernels/cuda_on_host/executor.cc), which runs a block's threads in lock step. What a warp does
// together is an exchange: each lane shows something, all 32 wait for each other, each sees what all showed.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"

#define DSLAD_DEVICE inline
#define DSLAD_UNROLL

namespace dslad::kernels::cuda {

// The place of a barrier: all threads must wait at the same one.
struct Where {
  const char* file = "";
  int line = 0;
  static constexpr Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

int thread_index();
BlockIndex block_index();
void sync_block(Where where = Where::current());
// What each lane showed at this exchange, 32 pointers; valid until this lane's next exchange.
const void* const* exchange(const void* shown, std::size_t bytes, Where where);
// The block's shared memory: that of one type (named by `tag`), and the dynamic one (tag null, bytes 0).
void* shared_memory(const void* tag, std::size_t bytes);
void copy16_later(void* to, const void* from, bool wanted);
void wait_for_copies();

inline void sync_warp(Where where = Where::current()) {
  exchange(nullptr, 0, where);
}

template <class T>
T shuffle(T x, int lane, Where where = Where::current()) {
  static_assert(std::is_trivially_copyable_v<T>);
  return *static_cast<const T*>(exchange(&x, sizeof x, where)[lane & (kWarp - 1)]);
}
template <class T>
T shuffle_xor(T x, int mask, Where where = Where::current()) {
  return cuda::shuffle(x, (thread_index() % kWarp) ^ mask, where);
}

template <class T>
T& static_shared() {
  static_assert(std::is_trivially_destructible_v<T>);
  static const char tag = 0;
  return *static_cast<T*>(shared_memory(&tag, sizeof(T)));
}
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(shared_memory(nullptr, 0));
}

// Threads of the executor take turns at barriers alone, so plain arithmetic is atomic.
inline void atomic_add(std::uint64_t* at, std::uint64_t x) {
  *at += x;
}
inline void atomic_max(std::uint64_t* at, std::uint64_t x) {
  if (x > *at) *at = x;
}

inline void store16(float* to, const float (&x)[4]) {
  for (int i = 0; i < 4; ++i) to[i] = x[i];
}

inline std::uint32_t pack_bf16(float low, float high) {
  return to_bf16(low).bits | std::uint32_t{to_bf16(high).bits} << 16;
}

// One lane's view of the instruction. With group = lane / 4 and pair = lane % 4, element (row, column) lies
// in
//   a [16, 16]   lane (row % 8) * 4 + column % 8 / 2, register row / 8 + column / 8 * 2, half column % 2
//   b [16, 8]    lane column * 4 + row % 8 / 2,       register row / 8,                  half row % 2
//   c [16, 8]    row group + i / 2 * 8, column 2 * pair + i % 2 is element i
// (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
inline void mma_16x8x16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                        Where where = Where::current()) {
  struct Operands {
    std::uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const void* const* shown = exchange(&mine, sizeof mine, where);
  const auto half = [](std::uint32_t word, int i) {
    return to_float(bf16{static_cast<std::uint16_t>(word >> (16 * i))});
  };
  const int group = thread_index() % kWarp / 4, pair = thread_index() % 4;
  float sum[4] = {};
  for (int k = 0; k < 16; ++k) {
    const int lane = k % 8 / 2;
    const auto& rows = *static_cast<const Operands*>(shown[group * 4 + lane]);
    for (int n = 0; n < 2; ++n) {
      const auto& column = *static_cast<const Operands*>(shown[(2 * pair + n) * 4 + lane]);
      const float y = half(column.b[k / 8], k % 2);
      sum[n] += half(rows.a[k / 8 * 2], k % 2) * y;
      sum[2 + n] += half(rows.a[k / 8 * 2 + 1], k % 2) * y;
    }
  }
  for (int i = 0; i < 4; ++i) c[i] += sum[i];
}

// Lane l names row l % 8 of matrix l / 8; register m is column lane / 4 of matrix m, rows 2 * (lane % 4) and
// the one behind it: the fragment b of a matrix that lies row by row.
inline void load_matrix_transposed(std::uint32_t (&r)[4], const bf16* row, Where where = Where::current()) {
  const void* address = row;
  const void* const* shown = exchange(&address, sizeof address, where);
  const int column = thread_index() % kWarp / 4, first = 2 * (thread_index() % 4);
  const auto row_at = [&](int lane) {
    return static_cast<const bf16*>(*static_cast<const void* const*>(shown[lane]));
  };
  for (int m = 0; m < 4; ++m) {
    const bf16* low = row_at(8 * m + first);
    const bf16* high = row_at(8 * m + first + 1);
    r[m] = low[column].bits | std::uint32_t{high[column].bits} << 16;
  }
}

}  // namespace dslad::kernels::cuda
