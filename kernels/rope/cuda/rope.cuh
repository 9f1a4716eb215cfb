// rope.h on a CUDA device: x is device memory, and so are the table's rows. Bound by memory.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/rope/cuda/rope_on_device.h"

namespace dslad::kernels::cuda {

struct Rope {
  using Args = RopeOnDevice;
  static constexpr int kThreads = 128;

  static Grid grid(const Args& args) {
    return {args.args.rows, (args.args.heads * args.half + kThreads - 1) / kThreads};
  }

  static DSLAD_DEVICE void run(const Args& rope) {
    const RopeArgs& args = rope.args;
    const std::int64_t pair = block_index().y * kThreads + thread_index(), row = block_index().x;
    if (pair >= args.heads * rope.half) return;
    const std::int64_t head = pair / rope.half, j = pair % rope.half;
    const std::int64_t angle = std::int64_t{args.positions[row]} * rope.half + j;
    const float cos = rope.cos[angle], sin = args.inverse ? -rope.sin[angle] : rope.sin[angle];
    float* x = args.x + row * args.x_stride + head * 2 * rope.half + j;
    const float low = x[0], high = x[rope.half];
    x[0] = low * cos - high * sin;
    x[rope.half] = high * cos + low * sin;
  }
};

}  // namespace dslad::kernels::cuda
