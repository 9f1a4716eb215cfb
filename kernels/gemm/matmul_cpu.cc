#include <algorithm>

#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/gemm/matmul.h"
#include "kernels/gemm/onednn_matmul.h"
#include "kernels/gemm/pack_lines.h"
#include "kernels/gemm/packed_matrix.h"
#include "kernels/gemm/panel_product.h"
#include "kernels/gemm/tile_kernel.h"

namespace dslad::kernels {
namespace {

constexpr std::int64_t kStepBytes = 4;  // of a packed line, in both types

constexpr std::int64_t kTunedRows = 16;   // oneDNN sees multiples of these, so that few shapes exist
constexpr std::int64_t kMaxSteps = 2048;  // of a block along K
// Of one packed operand: both together stay within the cache that the cores share.
constexpr std::int64_t kMaxBlockSteps = std::int64_t{2} << 20;
constexpr std::int64_t kPackedLines = 64;  // of A, for one task

// What of C one task computes.
struct TaskTile {
  std::int64_t rows, columns;
};
constexpr TaskTile kLargeTile = {128, 2 * kPanel};
constexpr TaskTile kSmallTile = {64, kPanel};
constexpr std::int64_t kFewTasks = 16;  // fewer large tiles would leave threads idle

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

constexpr std::int64_t pieces(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit;
}

struct Extent {
  std::int64_t first, count;
};

// By the shape alone, whatever the number of threads.
TaskTile tile_of(std::int64_t rows, std::int64_t columns) {
  const std::int64_t large = pieces(rows, kLargeTile.rows) * pieces(columns, kLargeTile.columns);
  return large < kFewTasks ? kSmallTile : kLargeTile;
}

// Of a dimension of `size`: the next piece of at most `most`.
Extent next(std::int64_t first, std::int64_t size, std::int64_t most) {
  return {first, std::min(most, size - first)};
}

class Matmul {
 public:
  Matmul(ThreadPool& pool, const MatmulArgs& args)
      : pool_(pool), args_(args), per_step_(args.compute == DType::kBf16 ? 2 : 1) {}

  void run() {
    for (std::int64_t at = 0; at < args_.k; at += k_.count) {
      k_ = next(at, args_.k, kMaxSteps * per_step_);
      steps_ = round_up(k_.count, 16 * per_step_) / per_step_;
      const std::int64_t most = std::max(kPanel, kMaxBlockSteps / steps_ / kPanel * kPanel);
      for (std::int64_t column = 0; column < args_.n; column += n_.count) {
        n_ = next(column, args_.n, most);
        for (std::int64_t row = 0; row < args_.m; row += m_.count) {
          m_ = next(row, args_.m, most);
          pack(row == 0);
          multiply();
        }
      }
    }
  }

 private:
  void pack(bool with_b) {
    static thread_local Workspace a_memory, b_memory;
    const auto steps = [&](std::int64_t lines) { return static_cast<std::size_t>(lines * steps_); };
    a_ = reinterpret_cast<std::byte*>(a_memory.floats(steps(round_up(m_.count, kTunedRows))));
    b_ = reinterpret_cast<std::byte*>(b_memory.floats(steps(round_up(n_.count, kPanel))));
    const std::int64_t a_tasks = pieces(m_.count, kPackedLines);
    const std::int64_t b_tasks = with_b ? pieces(n_.count, kPanel) : 0;
    pool_.parallel_for(a_tasks + b_tasks, [&](std::int64_t task, int) {
      if (task < a_tasks) {
        const Extent rows = next(task * kPackedLines, m_.count, kPackedLines);
        pack_lines(a_lines().part(m_.first + rows.first, rows.count, k_.first, k_.count),
                   round_up(rows.count, kTunedRows), args_.compute, steps_, a_at(rows.first));
      } else {
        const Extent columns = next((task - a_tasks) * kPanel, n_.count, kPanel);
        pack_panel(b_lines().part(n_.first + columns.first, columns.count, k_.first, k_.count), args_.compute,
                   steps_, b_at(columns.first));
      }
    });
  }

  void multiply() {
    const TaskTile tile = tile_of(m_.count, n_.count);
    const std::int64_t across = pieces(n_.count, tile.columns);
    pool_.parallel_for(pieces(m_.count, tile.rows) * across, [&](std::int64_t task, int) {
      const Extent rows = next(task / across * tile.rows, m_.count, tile.rows);
      const Extent columns = next(task % across * tile.columns, n_.count, tile.columns);
      const std::int64_t whole = rows.count / kTunedRows * kTunedRows;
      if (whole > 0) multiply_tuned({rows.first, whole}, columns);
      if (whole < rows.count) multiply_own({rows.first + whole, rows.count - whole}, columns);
    });
  }

  void multiply_tuned(Extent rows, Extent columns) const {
    const OneDnnMatmul* matmul = OneDnnMatmul::find(
        {rows.count, steps_ * per_step_, columns.count, args_.ldc, args_.compute, accumulate()});
    if (matmul == nullptr || !matmul->run(a_at(rows.first), b_at(columns.first), c_at(rows, columns))) {
      multiply_own(rows, columns);
    }
  }

  void multiply_own(Extent rows, Extent columns) const {
    alignas(64) float tile[kTileRows * kPanel];
    for (std::int64_t column = 0; column < columns.count; column += kPanel) {
      const Extent panel = next(columns.first + column, columns.first + columns.count, kPanel);
      for (std::int64_t row = 0; row < rows.count; row += kTileRows) {
        const Extent some = next(rows.first + row, rows.first + rows.count, kTileRows);
        multiply_panel(a_at(some.first), some.count, steps_ * kStepBytes, b_at(panel.first),
                       format_of(args_.compute), tile);
        store_tile(tile, kPanel, some.count, panel.count, c_at(some, panel), args_.ldc, accumulate());
      }
    }
  }

  [[nodiscard]] bool accumulate() const { return args_.accumulate || k_.first > 0; }
  [[nodiscard]] Lines a_lines() const {
    const MatrixOperand& a = args_.a;
    return {static_cast<const std::byte*>(a.data), a.dtype, a.transposed ? 1 : a.stride,
            a.transposed ? a.stride : 1,           args_.m, args_.k};
  }
  [[nodiscard]] Lines b_lines() const {
    const MatrixOperand& b = args_.b;
    return {static_cast<const std::byte*>(b.data), b.dtype, b.transposed ? b.stride : 1,
            b.transposed ? 1 : b.stride,           args_.n, args_.k};
  }
  // Of the packed block: where a row, or the panel that starts with a column, begins.
  [[nodiscard]] std::byte* a_at(std::int64_t row) const { return a_ + row * steps_ * kStepBytes; }
  [[nodiscard]] std::byte* b_at(std::int64_t column) const { return b_ + column * steps_ * kStepBytes; }
  [[nodiscard]] float* c_at(Extent rows, Extent columns) const {
    return args_.c + (m_.first + rows.first) * args_.ldc + n_.first + columns.first;
  }

  ThreadPool& pool_;
  const MatmulArgs& args_;
  const std::int64_t per_step_;  // elements of K in one step
  Extent k_{}, n_{}, m_{};       // the block that is packed
  std::int64_t steps_ = 0;       // of a packed line
  std::byte* a_ = nullptr;       // [m_, steps_]
  std::byte* b_ = nullptr;       // panels of n_
};

}  // namespace

void matmul_cpu(ThreadPool& pool, const MatmulArgs& args) {
  Matmul(pool, args).run();
}

}  // namespace dslad::kernels
