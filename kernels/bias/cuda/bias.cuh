// bias.h on a CUDA device. Bound by memory: y is read and written once.
#pragma once

#include "kernels/bias/bias.h"
#include "kernels/cuda/vectors.h"

namespace dslad::kernels::cuda {

struct AddBias {
  using Args = BiasArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return row_grid<kThreads>(args.rows, args.width); }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = row_element<kThreads>(), count = args.width - i;
    if (count <= 0) return;
    const bool aligned = rows_are_aligned(args.y, args.y_stride);
    float* y = args.y + block_index().x * args.y_stride + i;
    const Float4 bias = load4(args.bias + i, count, rows_are_aligned(args.bias, 0));
    Float4 sum = load4(y, count, aligned);
    for (int j = 0; j < 4; ++j) sum.at[j] += bias.at[j];
    store4(y, sum, count, aligned);
  }
};

}  // namespace dslad::kernels::cuda
