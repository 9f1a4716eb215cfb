// delta_rule.h on a CUDA device: pieces of one row by the recurrence, of several by the chunk form.
#pragma once

#include "kernels/delta/cuda/delta_chunk.cuh"
#include "kernels/delta/cuda/delta_step.cuh"

namespace dslad::kernels::cuda {

template <class Queue>
void delta_chunks(Queue& queue, const DeltaRuleOnDevice& step) {
  queue.template launch<DeltaScores>(step);
  const int d_k = step.args.shape.d_k;
  if (d_k <= DeltaChunk<2>::kChannels) return queue.template launch<DeltaChunk<2>>(step);
  if (d_k <= DeltaChunk<4>::kChannels) return queue.template launch<DeltaChunk<4>>(step);
  queue.template launch<DeltaChunk<8>>(step);
}

template <class Queue>
void delta_rule(Queue& queue, const DeltaRuleOnDevice& step) {
  const bool by_chunks = step.args.shape.d_k <= kMostDeltaWidth;
  if (step.single_rows || !by_chunks) delta_step(queue, {step.args, !by_chunks});
  if (by_chunks && step.most_rows > 1) delta_chunks(queue, step);
}

}  // namespace dslad::kernels::cuda
