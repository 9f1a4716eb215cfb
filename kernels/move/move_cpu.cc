#include <algorithm>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/move/move.h"

namespace dslad::kernels {

void gather_cpu(const GatherArgs& args) {
  float* to = args.to;
  for (const std::int64_t row : args.rows) to = std::copy_n(args.from + row * args.width, args.width, to);
}

void narrow_heads_cpu(ThreadPool& pool, const NarrowHeadsArgs& args) {
  const std::int64_t width = args.heads * args.channels + args.tail;
  parallel_rows(pool, args.rows, width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      float* const from = args.x + row * args.x_stride;
      float* to = from + args.kept;
      for (std::int64_t head = 1; head < args.heads; ++head)
        to = std::copy_n(from + head * args.channels, args.kept, to);
      std::copy_n(from + args.heads * args.channels, args.tail, to);
    }
  });
}

}  // namespace dslad::kernels
