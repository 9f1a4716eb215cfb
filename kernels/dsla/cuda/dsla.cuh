// dsla.h on a CUDA device: pieces of one row by the recurrence, of several by the chunk form.
#pragma once

#include "kernels/dsla/cuda/dsla_chunk.cuh"
#include "kernels/dsla/cuda/dsla_step.cuh"

namespace dslad::kernels::cuda {

template <class Queue>
void dsla_chunks(Queue& queue, const DslaOnDevice& step) {
  const int group = step.args.shape.n_heads / step.args.shape.n_kv;
  if (group == 1) {
    queue.template launch<DslaScores<1>>(step);
  } else if (group == 2) {
    queue.template launch<DslaScores<2>>(step);
  } else {
    queue.template launch<DslaScores<4>>(step);
  }
  const std::int64_t channels = step.args.shape.channels();
  if (step.args.shape.states == 1) {
    if (channels <= DslaChunk<2, 1>::kChannels) {
      queue.template launch<DslaChunk<2, 1>>(step);
    } else {
      queue.template launch<DslaChunk<4, 1>>(step);
    }
  } else if (channels <= DslaChunk<2, 2>::kChannels) {
    queue.template launch<DslaChunk<2, 2>>(step);
  } else if (channels <= DslaChunk<4, 2>::kChannels) {
    queue.template launch<DslaChunk<4, 2>>(step);
  } else {
    queue.template launch<DslaChunk<8, 2>>(step);
  }
}

template <class Queue>
void dsla(Queue& queue, const DslaOnDevice& step) {
  const bool by_chunks = step.args.shape.d_k <= kMaxChunkWidth;
  if (step.single_rows || !by_chunks) dsla_step(queue, {step.args, !by_chunks});
  if (by_chunks && step.most_rows > 1) dsla_chunks(queue, step);
}

}  // namespace dslad::kernels::cuda
