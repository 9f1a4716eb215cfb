// head_share.h on a CUDA device. Bound by memory: three floats move for each element.
#pragma once

#include "kernels/cuda/vectors.h"
#include "kernels/dsla/head_share.h"

namespace dslad::kernels::cuda {

struct AddHeadShare {
  using Args = HeadShareArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) {
    return row_grid<kThreads>(args.rows, std::int64_t{args.heads} * args.d);
  }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = row_element<kThreads>(), row = block_index().x;
    const std::int64_t count = std::int64_t{args.heads} * args.d - i;
    if (count <= 0) return;
    const bool aligned = rows_are_aligned(args.y, args.y_stride);
    const Float4 x = load4(args.x + row * args.x_stride + i, count, rows_are_aligned(args.x, args.x_stride));
    float* y = args.y + row * args.y_stride + i;
    Float4 sum = load4(y, count, aligned);
    for (int j = 0; j < 4 && j < count; ++j) sum.at[j] += args.share[(i + j) / args.d] * x.at[j];
    store4(y, sum, count, aligned);
  }
};

}  // namespace dslad::kernels::cuda
