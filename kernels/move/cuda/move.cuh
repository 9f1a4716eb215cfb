// move.h on a CUDA device. Bound by memory.
#pragma once

#include "kernels/cuda/vectors.h"
#include "kernels/move/cuda/move_on_device.h"

namespace dslad::kernels::cuda {

struct GatherRows {
  using Args = GatherOnDevice;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& gather) {
    return row_grid<kThreads>(static_cast<std::int64_t>(gather.args.rows.size()), gather.args.width);
  }

  static DSLAD_DEVICE void run(const Args& gather) {
    const GatherArgs& args = gather.args;
    const std::int64_t i = row_element<kThreads>(), row = block_index().x, left = args.width - i;
    if (left <= 0) return;
    const float* from = args.from + args.rows.data()[row] * args.width + i;
    const bool aligned = rows_are_aligned(args.from, args.width) && rows_are_aligned(args.to, args.width);
    store4(args.to + row * args.width + i, load4(from, left, aligned), left, aligned);
  }
};

// A block a row, from the left: what is written lies at or before what was read.
struct NarrowHeads {
  using Args = NarrowHeadsArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return {args.rows}; }

  static DSLAD_DEVICE void run(const Args& args) {
    float* row = args.x + block_index().x * args.x_stride;
    const std::int64_t in_heads = args.heads * args.kept, all = in_heads + args.tail;
    for (std::int64_t first = 0; first < all; first += kThreads) {
      const std::int64_t to = first + thread_index();
      const std::int64_t from = to < in_heads ? to / args.kept * args.channels + to % args.kept
                                              : args.heads * args.channels + to - in_heads;
      const float x = to < all ? row[from] : 0.0f;
      sync_block();
      if (to < all) row[to] = x;
      sync_block();
    }
  }
};

}  // namespace dslad::kernels::cuda
