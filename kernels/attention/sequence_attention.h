// Causal grouped-query attention over whole sequences, with its gradient and its entropy: attention as
// training and measurement need it, where attention.h serves.
//
//   p_tu = exp(l_tu - lse_t),  l_tu = scale * q_t . k_u,  o_t = sum_u p_tu v_u
//   u runs over the segment's own tokens up to t and, with a parent, over all of the parent's tokens; with
//   window > 0 only over the `window` latest of these, t itself included, and the `sinks` first.
//   entropy_t = -sum_u p_tu log p_tu                       accumulated with the online softmax
// Backward recomputes p from lse; nothing of size T x T exists at any time. Gradients for D_t = do_t . o_t:
//   dv_u += p_tu do_t,   dl_tu = p_tu (do_t . v_u - D_t),   dq_t = scale dl_tu k_u,   dk_u += scale dl_tu q_t
// Arithmetic is float32. Results depend neither on the number of threads nor on what else is in the batch
// than a segment, its parent and its siblings, bit for bit. REQUIRES: segments share no rows; nothing that is
// written aliases anything else.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/segments.h"

namespace dslad::kernels {

class ThreadPool;

struct SequenceAttentionArgs {
  int n_heads;  // a multiple of n_kv
  int n_kv;
  int head_dim;  // 8..256, even
  float scale;
  std::int64_t window;  // 0: no window
  const float* q;       // [R, n_heads, d], row stride q_stride; rotary already applied
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d], row stride kv_stride
  const float* v;  // [R, n_kv, d], row stride kv_stride
  std::int64_t kv_stride;
  float* o;  // [R, n_heads, d], row stride o_stride; overwritten for the rows of segments
  std::int64_t o_stride;
  float* lse;      // [R, n_heads] log of the sum of exponentials; written
  float* entropy;  // [R, n_heads] nats; written; null: not wanted
  std::span<const Segment> segments;
  std::int64_t sinks = 0;  // with a window: first tokens of a parent, or of a segment without one
};

struct SequenceAttentionBackwardArgs {
  SequenceAttentionArgs forward;  // as in the forward call; o and lse hold its results, entropy is ignored
  const float* d_o;               // [R, n_heads, d], row stride o_stride
  float* dq;  // [R, n_heads, d], row stride dq_stride; overwritten for the rows of segments
  std::int64_t dq_stride;
  float* dk;  // [R, n_kv, d], row stride dkv_stride; overwritten
  float* dv;  // the same
  std::int64_t dkv_stride;
};

void sequence_attention_ref(const SequenceAttentionArgs& args);  // in double
void sequence_attention_cpu(ThreadPool& pool, const SequenceAttentionArgs& args);
void sequence_attention_backward_ref(const SequenceAttentionBackwardArgs& args);  // in double
void sequence_attention_backward_cpu(ThreadPool& pool, const SequenceAttentionBackwardArgs& args);

}  // namespace dslad::kernels
