// The rows of one training step: tokens of several sequences, what each should predict, and how much it
// counts.
//
// Rows lie as kernels/segments.h says: a document is a segment, its questions are segments that continue it.
// All vectors of `rows()` entries are by row. A plain value.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/loss/token_loss.h"
#include "kernels/segments.h"

namespace dslad::worker {

struct TrainingBatch {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> positions;  // in the sequence, a parent's tokens counted
  std::vector<std::int32_t> labels;     // the next token, or kernels::kNoLabel
  std::vector<float> kl_weight;         // share of the row in the mean divergence, not normalised
  std::vector<kernels::Segment> segments;

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(ids.size()); }
  // Appends another batch's sequences.
  void append(const TrainingBatch& other);
};

}  // namespace dslad::worker
