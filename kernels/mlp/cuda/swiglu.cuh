// swiglu.h on a CUDA device. Bound by memory: three floats move for each element of y.
#pragma once

#include <cmath>

#include "kernels/cuda/vectors.h"
#include "kernels/mlp/swiglu.h"

namespace dslad::kernels::cuda {

struct SwiGlu {
  using Args = SwiGluArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return row_grid<kThreads>(args.rows, args.width); }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = row_element<kThreads>(), count = args.width - i, row = block_index().x;
    if (count <= 0) return;
    const bool aligned = rows_are_aligned(args.gate_up, args.x_stride);
    const float* x = args.gate_up + row * args.x_stride + i;
    Float4 gate = load4(x, count, aligned);
    const Float4 up = load4(x + args.width, count, aligned && args.width % 4 == 0);
    for (int j = 0; j < 4; ++j) gate.at[j] = gate.at[j] / (1.0f + expf(-gate.at[j])) * up.at[j];
    store4(args.y + row * args.y_stride + i, gate, count, rows_are_aligned(args.y, args.y_stride));
  }
};

}  // namespace dslad::kernels::cuda
