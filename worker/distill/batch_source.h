// The order in which a run sees its sequences: shuffled anew each epoch, packed into batches of about equal
// size.
//
// A cursor says all about where a run is: the same seed and cursor give the same batches, on any machine.
// Thread safety: none.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/distill/batch.h"

namespace dslad::worker {

struct BatchCursor {
  std::int64_t epoch = 0;
  std::int64_t next = 0;  // sequences of the epoch that are used up
  bool operator==(const BatchCursor&) const = default;
};

class BatchSource {
 public:
  // Borrows the sequences. REQUIRES: there is at least one; batch_tokens > 0.
  BatchSource(std::span<const TrainingBatch> sequences, std::int64_t batch_tokens, std::uint64_t seed);

  // Sequences until the next would exceed batch_tokens, at least one; a batch does not cross epochs.
  TrainingBatch next();

  [[nodiscard]] BatchCursor cursor() const { return cursor_; }
  void seek(BatchCursor cursor);

 private:
  void shuffle();

  std::span<const TrainingBatch> sequences_;
  std::int64_t batch_tokens_;
  std::uint64_t seed_;
  BatchCursor cursor_;
  std::vector<std::size_t> order_;  // of the epoch
};

}  // namespace dslad::worker
