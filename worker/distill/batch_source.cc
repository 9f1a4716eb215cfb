#include "worker/distill/batch_source.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace dslad::worker {

BatchSource::BatchSource(std::span<const TrainingBatch> sequences, std::int64_t batch_tokens,
                         std::uint64_t seed)
    : sequences_(sequences), batch_tokens_(batch_tokens), seed_(seed) {
  shuffle();
}

TrainingBatch BatchSource::next() {
  const auto count = static_cast<std::int64_t>(sequences_.size());
  if (cursor_.next >= count) {
    ++cursor_.epoch;
    cursor_.next = 0;
    shuffle();
  }
  TrainingBatch batch;
  while (cursor_.next < count) {
    const TrainingBatch& sequence = sequences_[order_[static_cast<std::size_t>(cursor_.next)]];
    if (batch.rows() > 0 && batch.rows() + sequence.rows() > batch_tokens_) break;
    batch.append(sequence);
    ++cursor_.next;
  }
  return batch;
}

void BatchSource::seek(BatchCursor cursor) {
  cursor_ = cursor;
  shuffle();
}

void BatchSource::shuffle() {
  order_.resize(sequences_.size());
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  std::mt19937_64 random(seed_ * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(cursor_.epoch));
  // By hand: what std::shuffle does with a generator is each library's own.
  for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random() % i]);
}

}  // namespace dslad::worker
