#include "kernels/gemm/panel_product.h"

#include <algorithm>

#include "kernels/gemm/packed_matrix.h"
#include "kernels/gemm/tile_kernel.h"

namespace dslad::kernels {
namespace {

// Of a panel: read by all rows while it is in the first-level cache.
constexpr std::int64_t kChunkBytes = 16 << 10;

}  // namespace

void multiply_panel(const std::byte* x, std::int64_t rows, std::int64_t stride, const std::byte* w,
                    WeightFormat format, float* tile) {
  const TileKernels& kernels = tile_kernels(format);
  const StepLayout layout = step_layout(format);
  const std::int64_t block = kernels.block;
  const std::int64_t steps = stride / layout.row_bytes;
  const std::int64_t groups = (rows + kernels.most_rows - 1) / kernels.most_rows;
  const std::int64_t chunk =
      groups == 1 ? steps : std::min(steps, kChunkBytes / layout.panel_bytes / block * block);
  const std::int64_t distance = groups == 1 ? kernels.stream_ahead : chunk * layout.panel_bytes;
  const std::int64_t lines = (block * layout.panel_bytes / 64 + groups - 1) / groups;
  for (std::int64_t step = 0; step < steps; step += chunk) {
    for (std::int64_t group = 0; group < groups; ++group) {
      const std::int64_t first = group * rows / groups, last = (group + 1) * rows / groups;
      const std::int64_t count = std::min(chunk, steps - step);
      const std::byte* weights = w + step * layout.panel_bytes;
      const TileArgs args = {.x = x + first * stride + step * layout.row_bytes,
                             .x_stride = stride,
                             .w = weights,
                             .steps = count,
                             .tile = tile + first * kPanel,
                             .resume = step > 0,
                             .ahead = weights + distance + group * count / block * lines * 64,
                             .ahead_lines = lines};
      kernels.by_rows[static_cast<std::size_t>(last - first - 1)](args);
    }
  }
}

void store_tile(const float* tile, std::int64_t ld, std::int64_t rows, std::int64_t columns, float* y,
                std::int64_t ldy, bool accumulate) {
  for (std::int64_t r = 0; r < rows; ++r, tile += ld, y += ldy) {
    if (accumulate) {
      for (std::int64_t c = 0; c < columns; ++c) y[c] += tile[c];
    } else {
      std::copy_n(tile, columns, y);
    }
  }
}

}  // namespace dslad::kernels
