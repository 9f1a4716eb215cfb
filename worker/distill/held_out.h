// How far students are from the teacher on sequences that nothing was trained on. Thread safety: one caller
// at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "worker/distill/batch.h"
#include "worker/distill/network.h"

namespace dslad::worker {

// Mean losses over sequences, without gradients, by batches of about `batch_tokens`.
Result<Losses> held_out_losses(Network& network, std::span<const TrainingBatch> sequences,
                               std::int64_t batch_tokens, const StudentLayers& converted);

// The same with each of `students` converted alone, by layer; the teacher runs once for all of them. Errors:
// kUnavailable once `stop` is set.
Result<std::vector<Losses>> held_out_losses_alone(Network& network, std::span<const TrainingBatch> sequences,
                                                  std::int64_t batch_tokens, const StudentLayers& students,
                                                  const std::atomic<bool>* stop = nullptr);

}  // namespace dslad::worker
