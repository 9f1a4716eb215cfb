// embed.h on a CUDA device. Bound by memory.
#pragma once

#include "kernels/cuda/embed.h"
#include "kernels/cuda/vectors.h"

namespace dslad::kernels::cuda {

struct Embed {
  using Args = EmbedArgs;
  static constexpr int kThreads = 256;

  static Grid grid(const Args& args) { return row_grid<kThreads>(args.rows, args.k); }

  static DSLAD_DEVICE void run(const Args& args) {
    const std::int64_t i = row_element<kThreads>(), row = block_index().x;
    std::int32_t id = args.ids[row];
    if (id < 0) id = args.drawn[-1 - std::int64_t{id}];  // a drawn_id()
    const std::int64_t from = (id < 0 ? 0 : id) * args.k + i, to = row * args.k + i;
    for (std::int64_t j = 0; j < 4 && i + j < args.k; ++j) {
      args.out[to + j] = args.dtype == DType::kF32 ? static_cast<const float*>(args.table)[from + j]
                                                   : to_float(static_cast<const bf16*>(args.table)[from + j]);
    }
  }
};

}  // namespace dslad::kernels::cuda
