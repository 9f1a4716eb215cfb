// rms_norm.h on a CUDA device. Bound by memory: the second look at x finds it in the caches.
//
// A group of up to kNarrow elements (a head) is one warp's, a wider one (a row) a block's: the order of its
// sum depends on its width alone.
#pragma once

#include <cmath>

#include "kernels/cuda/reduce.h"
#include "kernels/cuda/vectors.h"
#include "kernels/norm/rms_norm.h"

namespace dslad::kernels::cuda {

template <bool kWide>
struct RmsNorm {
  using Args = RmsNormArgs;
  static constexpr int kThreads = 256;
  static constexpr std::int64_t kNarrow = 512;
  static constexpr int kTeam = kWide ? kThreads : kWarp;  // threads of a group
  static constexpr int kTeams = kThreads / kTeam;         // of a block

  static Grid grid(const Args& args) { return {(args.rows * args.groups + kTeams - 1) / kTeams}; }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t group = block_index().x * kTeams + thread_index() / kTeam;
    // Teams without a group take part in the shuffles with nothing.
    const std::int64_t width = group < args.rows * args.groups ? args.width : 0;
    const std::int64_t row = group / args.groups, offset = group % args.groups * args.width;
    const float* x = args.x + row * args.x_stride + offset;
    float* y = args.y + row * args.y_stride + offset;
    const bool whole = args.width % 4 == 0;
    const bool x_aligned = whole && rows_are_aligned(args.x, args.x_stride);
    const bool y_aligned = whole && rows_are_aligned(args.y, args.y_stride);
    const bool weight_aligned = rows_are_aligned(args.weight, 0);
    const std::int64_t first = thread_index() % kTeam * 4, step = kTeam * 4;

    float squares = 0;
    for (std::int64_t i = first; i < width; i += step) {
      const Float4 part = load4(x + i, width - i, x_aligned);
      for (int j = 0; j < 4; ++j) squares += part.at[j] * part.at[j];
    }
    if constexpr (kWide) {
      squares = block_sum<kThreads>(squares);
    } else {
      squares = warp_sum(squares);
    }
    const float scale = 1.0f / sqrtf(squares / static_cast<float>(args.width) + args.eps);
    for (std::int64_t i = first; i < width; i += step) {
      Float4 part = load4(x + i, width - i, x_aligned);
      const Float4 weight = load4(args.weight + i, width - i, weight_aligned);
      for (int j = 0; j < 4; ++j) part.at[j] *= scale * weight.at[j];
      store4(y + i, part, width - i, y_aligned);
    }
  }
};

template <class Queue>
void rms_norm(Queue& queue, const RmsNormArgs& args) {
  if (args.width > RmsNorm<true>::kNarrow) {
    queue.template launch<RmsNorm<true>>(args);
  } else {
    queue.template launch<RmsNorm<false>>(args);
  }
}

}  // namespace dslad::kernels::cuda
