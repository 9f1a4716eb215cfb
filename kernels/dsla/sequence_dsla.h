// Dual-state linear attention over whole sequences from a zero state, with its gradient: DSLA as training
// needs it, where dsla.h serves. The forward formulas are dsla.h's.
//
// Backward (do = dL/do): sweep t = T..1 for each state i, starting from dS = the sum of what the segments
// that continue this one leave behind (zero without any), g = rowsum(S_i,T * dS):
//   dS      += s mix_i q_t do_t^T
//   dq_i,t   = s mix_i S_i,t do_t            dq = sum_i dq_i
//   dk_i,t   = dS v_t                        dk = sum_i dk_i
//   dv_t    += dS^T k_t
//   g       += q_t * dq_i,t - k_t * dk_i,t   dlog a_i,t = g
//   dS       = diag(a_i,t) dS
//   dz_i     = dlog a_i sigmoid(-z_i) / tau  (0 where the clamp is active)
//   dmix_i   = sum_t q_t . dq_i,t / mix_i    per query head; computed so that mix_i = 0 is ordinary
// computed by chunks: states are kept at chunk boundaries only, so memory grows with T / kDslaChunk. A
// segment with a parent starts from the parent's final state. Results do not depend on the number of threads,
// bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/dsla/dsla.h"
#include "kernels/segments.h"

namespace dslad::kernels {

struct SequenceDslaArgs {
  DslaShape shape;
  const float* q;  // [R, n_heads, d_k], row stride q_stride floats
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d_k], row stride k_stride
  std::int64_t k_stride;
  const float* v;  // [R, n_kv, d_v], row stride v_stride
  std::int64_t v_stride;
  const float* z;  // gate logits without bias [R, states, n_kv, d_k], row stride z_stride
  std::int64_t z_stride;
  const float* gate_bias;  // c [states, n_kv, d_k]
  const float* mix;        // softmax(alpha) [states, n_heads]: >= 0, those of a head sum to 1
  float* o;                // [R, n_heads, d_v], row stride o_stride; overwritten for the rows of segments
  std::int64_t o_stride;
  std::span<const Segment> segments;
};

struct SequenceDslaBackwardArgs {
  SequenceDslaArgs forward;  // as in the forward call; o is not read
  const float* d_o;          // [R, n_heads, d_v], row stride o_stride
  // [R, n_heads, d_k], row stride dq_stride; overwritten for the rows of segments, as dk, dv and dz; none may
  // overlap an input.
  float* dq;
  std::int64_t dq_stride;
  float* dk;  // [R, n_kv, d_k]
  std::int64_t dk_stride;
  float* dv;  // [R, n_kv, d_v]
  std::int64_t dv_stride;
  float* dz;  // [R, states, n_kv, d_k]
  std::int64_t dz_stride;
  float* d_gate_bias;  // [states, n_kv, d_k]; added to
  float* d_mix;        // [states, n_heads]; added to
};

// The recurrence in double, token by token.
void sequence_dsla_ref(const SequenceDslaArgs& args);
void sequence_dsla_backward_ref(const SequenceDslaBackwardArgs& args);
void sequence_dsla_cpu(ThreadPool& pool, const SequenceDslaArgs& args);
void sequence_dsla_backward_cpu(ThreadPool& pool, const SequenceDslaBackwardArgs& args);

// Bytes that each thread works in during both CPU passes, and keeps for later calls. README.md has the
// formula: 4 d_k d_v bytes a state for each kDslaChunk tokens of the longest sequence, and a constant.
std::size_t sequence_dsla_workspace_bytes(const DslaShape& shape, std::span<const Segment> segments);

}  // namespace dslad::kernels
