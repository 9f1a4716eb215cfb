// attention.h on a CUDA device: keys and values are appended, then pieces of one row and of several attend,
// each by a form of their own.
#pragma once

#include "kernels/attention/cuda/append_kv.cuh"
#include "kernels/attention/cuda/attention_decode.cuh"
#include "kernels/attention/cuda/attention_prefill.cuh"

namespace dslad::kernels::cuda {

// A turn at the workspace.
template <class T, class Queue>
void attend_by_partitions_at_once(Queue& queue, const AttentionOnDevice& step) {
  const DecodeArgs args{step, most_partitions(step.args, step.most_tokens)};
  const int group = step.args.n_heads / step.args.layout.n_kv;
  if (group == 1) {
    queue.template launch<AttendPartition<T, 1>>(args);
  } else if (group == 2) {
    queue.template launch<AttendPartition<T, 2>>(args);
  } else if (group <= 4) {
    queue.template launch<AttendPartition<T, 4>>(args);
  } else {
    queue.template launch<AttendPartition<T, 8>>(args);
  }
  queue.template launch<MergePartitions>(args);
}

template <class T, class Queue>
void attend_by_partitions(Queue& queue, const AttentionOnDevice& step) {
  for (std::int64_t first = 0; first < step.decoding; first += step.at_once) {
    AttentionOnDevice turn = step;
    const std::int64_t pieces = std::min(step.at_once, step.decoding - first);
    turn.args.pieces =
        step.args.pieces.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(pieces));
    attend_by_partitions_at_once<T>(queue, turn);
  }
}

template <class T, class Queue>
void attend_by_tiles(Queue& queue, const AttentionOnDevice& step) {
  if (step.args.layout.head_dim <= 64) {
    queue.template launch<AttendTile<T, 64>>(step);
  } else if (step.args.layout.head_dim <= 128) {
    queue.template launch<AttendTile<T, 128>>(step);
  } else {
    queue.template launch<AttendTile<T, 256>>(step);
  }
}

template <class T, class Queue>
void attention(Queue& queue, const AttentionOnDevice& step) {
  queue.template launch<AppendKv<T>>(step);
  attend_by_partitions<T>(queue, step);
  if (step.most_rows > 1) attend_by_tiles<T>(queue, step);
}

template <class Queue>
void attention(Queue& queue, const AttentionOnDevice& step) {
  if (step.args.layout.dtype == DType::kF32) {
    attention<float>(queue, step);
  } else {
    attention<bf16>(queue, step);
  }
}

}  // namespace dslad::kernels::cuda
