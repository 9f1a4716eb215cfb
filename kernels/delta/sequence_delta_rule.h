// The gated delta rule over whole sequences from a zero state, with its gradient: as training needs it, where
// delta_rule.h serves. The forward formulas are delta_rule.h's.
//
// Backward (do = dL/do), with f_t = k_t^T S_t-1 and x_t = v_t - a_t f_t: sweep t = T..1, starting from dS =
// the sum of what the segments that continue this one leave behind (zero without any):
//   dq_t     = S_t do_t                  dS += q_t do_t^T           (of all query heads)
//   dx_t     = beta_t dS^T k_t           dbeta_t = k_t^T dS x_t     dv_t = dx_t
//   dk_t     = beta_t dS x_t - a_t S_t-1 dx_t
//   da_t     = <S_t-1, dS> - f_t . dx_t
//   dS       = a_t (dS - k_t dx_t^T)
//   dlog a_t = a_t da_t, dz_t = dlog a_t sigmoid(-z_t) / tau (0 where the clamp is active)
//   dw_t     = dbeta_t beta_t (1 - beta_t)
// and for the q and k of any length dq <- (dq - q (q . dq)) / |q|. Computed by chunks: states are kept at
// chunk boundaries only. A segment with a parent starts from the parent's final state. Results do not depend
// on the number of threads, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/delta/delta_rule.h"
#include "kernels/segments.h"

namespace dslad::kernels {

struct SequenceDeltaRuleArgs {
  DslaShape shape;  // REQUIRES: states is 1
  const float* q;   // [R, n_heads, d_k] of any length, row stride q_stride floats
  std::int64_t q_stride;
  const float* k;  // [R, n_kv, d_k] of any length, row stride k_stride
  std::int64_t k_stride;
  const float* v;  // [R, n_kv, d_v], row stride v_stride
  std::int64_t v_stride;
  const float* z;  // logits without bias [R, 2, n_kv]: the gates', then the betas'; row stride z_stride
  std::int64_t z_stride;
  const float* bias;  // [2, n_kv]
  float* o;           // [R, n_heads, d_v], row stride o_stride; overwritten for the rows of segments
  std::int64_t o_stride;
  std::span<const Segment> segments;
};

struct SequenceDeltaRuleBackwardArgs {
  SequenceDeltaRuleArgs forward;  // as in the forward call; o is not read
  const float* d_o;               // [R, n_heads, d_v], row stride o_stride
  // [R, n_heads, d_k], row stride dq_stride; overwritten for the rows of segments, as dk, dv and dz; none may
  // overlap an input.
  float* dq;
  std::int64_t dq_stride;
  float* dk;  // [R, n_kv, d_k]
  std::int64_t dk_stride;
  float* dv;  // [R, n_kv, d_v]
  std::int64_t dv_stride;
  float* dz;  // [R, 2, n_kv]
  std::int64_t dz_stride;
  float* d_bias;  // [2, n_kv]; added to
};

// The recurrence in double, token by token.
void sequence_delta_rule_ref(const SequenceDeltaRuleArgs& args);
void sequence_delta_rule_backward_ref(const SequenceDeltaRuleBackwardArgs& args);
void sequence_delta_rule_cpu(ThreadPool& pool, const SequenceDeltaRuleArgs& args);
void sequence_delta_rule_backward_cpu(ThreadPool& pool, const SequenceDeltaRuleBackwardArgs& args);

}  // namespace dslad::kernels
