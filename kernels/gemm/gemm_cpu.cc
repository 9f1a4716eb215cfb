#include <algorithm>
#include <vector>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/onednn_matmul.h"
#include "kernels/gemm/operand.h"
#include "kernels/gemm/panel_product.h"

namespace dslad::kernels {
namespace {

constexpr std::int64_t kSmallPrefillRows = 8;  // up to here our kernel is faster than padding to 16 rows
constexpr std::int64_t kPaddedRows = 16;       // oneDNN sees multiples of these
constexpr std::int64_t kPrefillPanels = 2;     // of a task; fixed, whatever the number of threads

// Rows of x that lie one after the other in the packed operand.
struct Piece {
  std::int64_t row;      // in x and y
  std::int64_t operand;  // in the packed operand
  std::int64_t rows;
};

constexpr std::int64_t padded(std::int64_t rows) {
  return (rows + kPaddedRows - 1) / kPaddedRows * kPaddedRows;
}

class Gemm {
 public:
  Gemm(ThreadPool& pool, const GemmArgs& args) : pool_(pool), args_(args), w_(*args.w) {
    for (const RowBlock& block : args.blocks) add(block);
  }

  void run() {
    pack_operand();
    const std::int64_t panels = w_.padded_n() / kPanel;
    const std::int64_t step = tuned_.empty() ? 1 : kPrefillPanels;
    pool_.parallel_for((panels + step - 1) / step, [&](std::int64_t task, int) {
      const std::int64_t first = task * step, last = std::min(panels, first + step);
      for (const Piece& piece : own_) {
        for (std::int64_t panel = first; panel < last; ++panel) run_panel(piece, panel);
      }
      for (const Piece& piece : tuned_) run_tuned(piece, first, last);
    });
  }

 private:
  void add(const RowBlock& block) {
    const bool own = block.kind == RowKind::kDecode || block.rows <= kSmallPrefillRows;
    (own ? own_ : tuned_).push_back({block.first, operand_rows_, block.rows});
    operand_rows_ += own ? block.rows : padded(block.rows);
  }

  void pack_operand() {
    static thread_local Workspace workspace;
    stride_ = w_.padded_k() * static_cast<std::int64_t>(size_of(w_.dtype()));
    const auto bytes = static_cast<std::size_t>(operand_rows_ * stride_);
    operand_ = reinterpret_cast<std::byte*>(workspace.floats(bytes / sizeof(float)));
    for (const Piece& piece : own_) pack_rows(piece, piece.rows);
    for (const Piece& piece : tuned_) pack_rows(piece, padded(piece.rows));
  }

  void pack_rows(const Piece& piece, std::int64_t with_padding) {
    parallel_rows(pool_, with_padding, w_.k(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t k = row < piece.rows ? w_.k() : 0;  // padding: nothing but zeros
        pack_operand_row(args_.x + (piece.row + row) * args_.ldx, k, w_.padded_k(), w_.dtype(),
                         operand_ + (piece.operand + row) * stride_);
      }
    });
  }

  [[nodiscard]] const std::byte* panel_data(std::int64_t panel) const {
    return static_cast<const std::byte*>(w_.data()) + panel * kPanel * stride_;
  }

  // Our kernel: rows by tiles that fit the first-level cache, K by chunks that fit it too.
  void run_panel(const Piece& piece, std::int64_t panel) const {
    alignas(64) float tile[kTileRows * kPanel];
    const std::int64_t columns = std::min(kPanel, w_.n() - panel * kPanel);
    for (std::int64_t row = 0; row < piece.rows; row += kTileRows) {
      const std::int64_t rows = std::min(kTileRows, piece.rows - row);
      multiply_panel(operand_ + (piece.operand + row) * stride_, rows, stride_, panel_data(panel), w_.dtype(),
                     tile);
      float* y = args_.y + (piece.row + row) * args_.ldy + panel * kPanel;
      store_tile(tile, kPanel, rows, columns, y, args_.ldy, args_.accumulate);
    }
  }

  // oneDNN, straight into y where nothing has to be added or cut off.
  void run_tuned(const Piece& piece, std::int64_t first_panel, std::int64_t last_panel) const {
    static thread_local Workspace workspace;
    const std::int64_t column = first_panel * kPanel;
    const std::int64_t columns = std::min(last_panel * kPanel, w_.n()) - column;
    const bool direct = !args_.accumulate && padded(piece.rows) == piece.rows;
    const std::int64_t ld = direct ? args_.ldy : kPrefillPanels * kPanel;
    const MatmulShape shape = {padded(piece.rows), w_.padded_k(), columns, ld, w_.dtype()};
    float* y = args_.y + piece.row * args_.ldy + column;
    float* out = direct ? y : workspace.floats(static_cast<std::size_t>(shape.rows * ld));
    const OneDnnMatmul* matmul = OneDnnMatmul::find(shape);
    if (matmul == nullptr || !matmul->run(operand_ + piece.operand * stride_, panel_data(first_panel), out)) {
      for (std::int64_t panel = first_panel; panel < last_panel; ++panel) run_panel(piece, panel);
    } else if (!direct) {
      store_tile(out, ld, piece.rows, columns, y, args_.ldy, args_.accumulate);
    }
  }

  ThreadPool& pool_;
  const GemmArgs& args_;
  const PackedMatrix& w_;
  std::vector<Piece> own_, tuned_;
  std::int64_t operand_rows_ = 0;
  std::int64_t stride_ = 0;  // bytes of an operand row
  std::byte* operand_ = nullptr;
};

}  // namespace

void gemm_cpu(ThreadPool& pool, const GemmArgs& args) {
  Gemm(pool, args).run();
}

}  // namespace dslad::kernels
