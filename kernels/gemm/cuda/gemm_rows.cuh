// What stands before and behind a product of matrices: rows are rounded to the weights' type T, results are
// placed. Bound by memory.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"
#include "kernels/tensor.h"

namespace dslad::kernels::cuda {

// to [padded_rows, k] T = from [rows, k] f32, and rows of zeros.
template <class T>
struct RoundRowsArgs {
  const float* from;
  std::int64_t stride;
  std::int64_t rows, padded_rows, k;
  T* to;
};

template <class T>
struct RoundRows {
  using Args = RoundRowsArgs<T>;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return {args.padded_rows, (args.k + kThreads - 1) / kThreads}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = block_index().y * kThreads + thread_index(), row = block_index().x;
    if (i >= args.k) return;
    const float x = row < args.rows ? args.from[row * args.stride + i] : 0.0f;
    if constexpr (std::is_same_v<T, float>) {
      args.to[row * args.k + i] = x;
    } else {
      args.to[row * args.k + i] = {static_cast<std::uint16_t>(pack_bf16(x, 0.0f))};
    }
  }
};

// to [rows, n] = from [rows, n], or += from.
struct PlaceRowsArgs {
  const float* from;
  std::int64_t rows, n;
  float* to;
  std::int64_t stride;
  bool accumulate;
};

struct PlaceRows {
  using Args = PlaceRowsArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return {args.rows, (args.n + kThreads - 1) / kThreads}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = block_index().y * kThreads + thread_index(), row = block_index().x;
    if (i >= args.n) return;
    float& y = args.to[row * args.stride + i];
    const float x = args.from[row * args.n + i];
    y = args.accumulate ? y + x : x;
  }
};

}  // namespace dslad::kernels::cuda
