#include "worker/engine/step_rows.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace dslad::worker {

using kernels::RowBlock;
using kernels::RowKind;

namespace {

// Whether a plan's rows come first. Plans of one edition nest: in the order of their numbers the rows that
// one form of a layer serves lie side by side, whichever layer it is.
bool precedes(const Plan& a, const Plan& b) {
  if (&a == &b) return false;
  if (const int order = a.edition().compare(b.edition()); order != 0) return order < 0;
  if (a.number() != b.number()) return a.number() < b.number();
  return std::less<>{}(&a, &b);
}

// Adds blocks to others that end before them; decode rows that lie side by side become one block.
void append(std::vector<RowBlock>& blocks, std::span<const RowBlock> more) {
  for (const RowBlock& rows : more) {
    const bool extends = rows.kind == RowKind::kDecode && !blocks.empty() &&
                         blocks.back().kind == RowKind::kDecode &&
                         blocks.back().first + blocks.back().rows == rows.first;
    if (extends) {
      blocks.back().rows += rows.rows;
    } else {
      blocks.push_back(rows);
    }
  }
}

}  // namespace

void LayerBlocks::add(const DslaWeights* dsla_of_rows, std::span<const RowBlock> rows) {
  if (dsla_of_rows == nullptr) append(softmax, rows);
  if (dsla_of_rows == nullptr || !dsla_of_rows->own_projections()) append(shared, rows);
  if (dsla_of_rows == nullptr) return;
  auto mine = std::ranges::find(dsla, dsla_of_rows, &DslaRows::dsla);
  if (mine == dsla.end()) mine = dsla.insert(mine, {dsla_of_rows, {}});
  append(mine->blocks, rows);
}

StepRows::StepRows(std::span<const StepSequence> sequences, std::int64_t piece_rows)
    : step(sequences), order(sequences.size()), first_row(sequences.size()), blocks(sequences.size()) {
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (step[a].kind != step[b].kind) return step[a].kind < step[b].kind;
    return precedes(step[a].cache->plan(), step[b].cache->plan());
  });
  for (const std::size_t i : order) {
    first_row[i] = count();
    for (std::size_t t = 0; t < step[i].tokens.size(); ++t) {
      ids.push_back(step[i].tokens[t]);
      positions.push_back(static_cast<std::int32_t>(step[i].context + static_cast<std::int64_t>(t)));
    }
    const std::int64_t most = step[i].kind == RowKind::kPrefill ? piece_rows : rows_of(i);
    for (std::int64_t done = 0; done < rows_of(i); done += most)
      blocks[i].push_back({first_row[i] + done, std::min(most, rows_of(i) - done), step[i].kind});
    append(all, blocks[i]);
  }
  for (std::size_t i = 0; i < step.size(); ++i) {
    const std::int64_t end = first_row[i] + rows_of(i);
    for (std::int64_t row = end - wanted_of(i); row < end; ++row) {
      logit_rows.push_back(row);
      logit_plans.push_back(&step[i].cache->plan());
    }
  }
}

std::int64_t StepRows::wanted_of(std::size_t i) const {
  const LogitRows wanted = step[i].logits;
  return wanted == LogitRows::kAll ? rows_of(i) : wanted == LogitRows::kLast ? 1 : 0;
}

LayerBlocks StepRows::blocks_of(int layer) const {
  LayerBlocks out;
  for (const std::size_t i : order) out.add(dsla(i, layer), blocks[i]);
  return out;
}

LayerBlocks StepRows::logit_blocks(int layer) const {
  LayerBlocks out;
  for (std::size_t row = 0; row < logit_plans.size(); ++row) {
    const RowBlock block{static_cast<std::int64_t>(row), 1, RowKind::kDecode};
    out.add(logit_plans[row]->dsla(layer), {&block, 1});
  }
  return out;
}

}  // namespace dslad::worker
