#include <algorithm>
#include <vector>

#include "kernels/cpu/parallel_rows.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/onednn_matmul.h"
#include "kernels/gemm/operand.h"
#include "kernels/gemm/packed_matrix.h"
#include "kernels/gemm/panel_product.h"
#include "kernels/gemm/quantized_group.h"

namespace dslad::kernels {
namespace {

constexpr std::int64_t kPaddedRows = 16;    // oneDNN sees multiples of these
constexpr std::int64_t kPrefillPanels = 2;  // of a task; fixed, whatever the number of threads

constexpr std::int64_t padded(std::int64_t rows) {
  return (rows + kPaddedRows - 1) / kPaddedRows * kPaddedRows;
}

// Rows of x that lie one after the other in their operand.
struct Piece {
  std::int64_t row;      // in x and y
  std::int64_t operand;  // in the operand
  std::int64_t rows;
};

// Rows as one kernel reads them.
struct Operand {
  Operand(WeightFormat of, std::int64_t padded_k) : format(of), stride(operand_bytes(of, padded_k)) {}

  [[nodiscard]] std::byte* at(std::int64_t row) const { return data + row * stride; }

  WeightFormat format;
  std::int64_t stride;  // bytes from row to row
  std::vector<Piece> pieces;
  std::int64_t rows = 0;  // padding included
  std::byte* data = nullptr;
};

class Gemm {
 public:
  Gemm(ThreadPool& pool, const GemmArgs& args)
      : pool_(pool),
        args_(args),
        w_(static_cast<const PackedMatrix&>(*args.w)),
        own_(w_.format(), w_.padded_k()),
        tuned_(format_of(compute_type(w_.format())), w_.padded_k()) {
    for (const RowBlock& block : args.blocks) add(block);
  }

  void run() {
    pack_operands();
    const std::int64_t panels = w_.panels();
    const std::int64_t step = tuned_.pieces.empty() ? 1 : kPrefillPanels;
    pool_.parallel_for((panels + step - 1) / step, [&](std::int64_t task, int) {
      const std::int64_t first = task * step, last = std::min(panels, first + step);
      for (const Piece& piece : own_.pieces) {
        for (std::int64_t panel = first; panel < last; ++panel)
          run_panel(own_, piece, panel, w_.panel(panel));
      }
      if (tuned_.pieces.empty()) return;
      const std::byte* const weights = tuned_weights(first, last);
      for (const Piece& piece : tuned_.pieces) run_tuned(piece, first, last, weights);
    });
  }

 private:
  void add(const RowBlock& block) {
    const bool own = has_few_rows(block);
    Operand& operand = own ? own_ : tuned_;
    operand.pieces.push_back({block.first, operand.rows, block.rows});
    operand.rows += own ? block.rows : padded(block.rows);
  }

  void pack_operands() {
    static thread_local Workspace workspace;
    const std::int64_t own_bytes = own_.rows * own_.stride;
    const std::int64_t bytes = own_bytes + tuned_.rows * tuned_.stride;
    own_.data =
        reinterpret_cast<std::byte*>(workspace.floats(static_cast<std::size_t>(bytes) / sizeof(float)));
    tuned_.data = own_.data + own_bytes;
    for (const Piece& piece : own_.pieces) pack_rows(own_, piece, piece.rows);
    for (const Piece& piece : tuned_.pieces) pack_rows(tuned_, piece, padded(piece.rows));
  }

  void pack_rows(const Operand& operand, const Piece& piece, std::int64_t with_padding) {
    parallel_rows(pool_, with_padding, w_.k(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t k = row < piece.rows ? w_.k() : 0;  // padding: nothing but zeros
        pack_operand_row(args_.x + (piece.row + row) * args_.ldx, k, w_.padded_k(), operand.format,
                         operand.at(piece.operand + row));
      }
    });
  }

  // The panels in the format of the tuned kernel: as they are, or widened once for all rows of the step.
  [[nodiscard]] const std::byte* tuned_weights(std::int64_t first_panel, std::int64_t last_panel) const {
    if (!is_quantized(w_.format())) return w_.panel(first_panel);
    static thread_local Workspace workspace;
    const std::int64_t values = kPanel * w_.padded_k();
    auto* const widened =
        reinterpret_cast<bf16*>(workspace.floats(static_cast<std::size_t>(kPrefillPanels * values) / 2));
    for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
      widen_panel(w_.panel(panel), w_.padded_k() / kGroup, w_.format(),
                  widened + (panel - first_panel) * values);
    }
    return reinterpret_cast<const std::byte*>(widened);
  }

  // Our kernel: rows by tiles that fit the first-level cache, K by chunks that fit it too.
  void run_panel(const Operand& operand, const Piece& piece, std::int64_t panel,
                 const std::byte* weights) const {
    alignas(64) float tile[kTileRows * kPanel];
    const std::int64_t columns = std::min(kPanel, w_.n() - panel * kPanel);
    for (std::int64_t row = 0; row < piece.rows; row += kTileRows) {
      const std::int64_t rows = std::min(kTileRows, piece.rows - row);
      multiply_panel(operand.at(piece.operand + row), rows, operand.stride, weights, operand.format, tile);
      float* y = args_.y + (piece.row + row) * args_.ldy + panel * kPanel;
      store_tile(tile, kPanel, rows, columns, y, args_.ldy, args_.accumulate);
    }
  }

  // oneDNN, straight into y where nothing has to be added or cut off. `weights`: the panels.
  void run_tuned(const Piece& piece, std::int64_t first_panel, std::int64_t last_panel,
                 const std::byte* weights) const {
    static thread_local Workspace workspace;
    const std::int64_t column = first_panel * kPanel;
    const std::int64_t columns = std::min(last_panel * kPanel, w_.n()) - column;
    const bool direct = !args_.accumulate && padded(piece.rows) == piece.rows;
    const std::int64_t ld = direct ? args_.ldy : kPrefillPanels * kPanel;
    const DType type = compute_type(w_.format());
    const MatmulShape shape = {padded(piece.rows), w_.padded_k(), columns, ld, type};
    float* y = args_.y + piece.row * args_.ldy + column;
    float* out = direct ? y : workspace.floats(static_cast<std::size_t>(shape.rows * ld));
    const OneDnnMatmul* matmul = OneDnnMatmul::find(shape);
    if (matmul == nullptr || !matmul->run(tuned_.at(piece.operand), weights, out)) {
      const std::int64_t panel_bytes = kPanel * w_.padded_k() * static_cast<std::int64_t>(size_of(type));
      for (std::int64_t panel = first_panel; panel < last_panel; ++panel)
        run_panel(tuned_, piece, panel, weights + (panel - first_panel) * panel_bytes);
    } else if (!direct) {
      store_tile(out, ld, piece.rows, columns, y, args_.ldy, args_.accumulate);
    }
  }

  ThreadPool& pool_;
  const GemmArgs& args_;
  const PackedMatrix& w_;
  Operand own_;    // for our kernel, in W's format
  Operand tuned_;  // for oneDNN, in W's compute type
};

}  // namespace

void gemm_cpu(ThreadPool& pool, const GemmArgs& args) {
  Gemm(pool, args).run();
}

}  // namespace dslad::kernels
