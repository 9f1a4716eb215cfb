// Where the rows of a step lie in the matrix of its activations, and what they are to each layer.
//
// Decode rows come first, those of one plan side by side, so that each layer sees few and large blocks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/rows.h"
#include "worker/engine/cache_pool.h"
#include "worker/model/dsla_weights.h"

namespace dslad::worker {

// Which rows of a sequence's part get logits.
enum class LogitRows : std::uint8_t { kNone, kLast, kAll };

// One sequence's part of a step. Prefill may take in several pieces of a prompt at once: they are cut every
// piece_rows() tokens of the device from the first on, and give bit for bit what they give in steps of their
// own.
struct StepSequence {
  const SequenceCache* cache;
  std::int64_t context;                  // tokens of it that earlier steps have processed
  std::span<const std::int32_t> tokens;  // one (decode) or any number (prefill), the next of the sequence
  kernels::RowKind kind;
  LogitRows logits;
};

// Rows side by side in a matrix that one converted form of a layer serves.
struct DslaRows {
  const DslaWeights* dsla;
  std::vector<kernels::RowBlock> blocks;
};

// Rows side by side in a matrix, by what they are to a layer.
struct LayerBlocks {
  std::vector<kernels::RowBlock> softmax;
  // Rows with the teacher's projections: those above and those of forms that were not distilled, which share
  // them. One product serves them all.
  std::vector<kernels::RowBlock> shared;
  std::vector<DslaRows> dsla;

  // Of the form that their plan gives the layer; null: attention.
  void add(const DslaWeights* dsla_of_rows, std::span<const kernels::RowBlock> rows);
};

// Immutable once made. Sequences are named by their index in the step.
class StepRows {
 public:
  // `step` outlives it. Prompts are cut every `piece_rows` tokens.
  StepRows(std::span<const StepSequence> step, std::int64_t piece_rows);

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(ids.size()); }
  [[nodiscard]] std::int64_t rows_of(std::size_t i) const {
    return static_cast<std::int64_t>(step[i].tokens.size());
  }
  // Rows of the sequence, the last ones, whose logits are wanted.
  [[nodiscard]] std::int64_t wanted_of(std::size_t i) const;
  // The form that the sequence's plan gives the layer; null: attention.
  [[nodiscard]] const DslaWeights* dsla(std::size_t i, int layer) const {
    return step[i].cache->plan().dsla(layer);
  }
  [[nodiscard]] LayerBlocks blocks_of(int layer) const;
  // Of logit_rows in a matrix of their own: single rows wherever they stand in a prompt or an answer, one
  // kind of block for all.
  [[nodiscard]] LayerBlocks logit_blocks(int layer) const;

  std::span<const StepSequence> step;
  std::vector<std::size_t> order;                      // of the sequences in the matrix
  std::vector<std::int64_t> first_row;                 // by sequence
  std::vector<std::int32_t> ids;                       // by row
  std::vector<std::int32_t> positions;                 // by row
  std::vector<std::vector<kernels::RowBlock>> blocks;  // by sequence: a prompt's pieces
  std::vector<kernels::RowBlock> all;                  // every row, by blocks
  std::vector<std::int64_t> logit_rows;                // rows whose logits are wanted, by sequence
  std::vector<const Plan*> logit_plans;                // their sequences' plans
};

// call(first, rows) for all rows that lie side by side, whatever blocks they are in: for operations that look
// at each row by itself.
template <class Call>
void each_run(std::span<const kernels::RowBlock> blocks, const Call& call) {
  for (auto block = blocks.begin(); block != blocks.end();) {
    const std::int64_t first = block->first;
    std::int64_t end = first;
    for (; block != blocks.end() && block->first == end; ++block) end += block->rows;
    call(first, end - first);
  }
}

}  // namespace dslad::worker
