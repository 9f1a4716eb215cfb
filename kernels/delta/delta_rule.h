// The gated delta rule with scalar gates (arXiv 2412.06464): prefill pieces and decode steps, grouped
// queries.
//
//   log a_t = max(logsigmoid(z_t) / kGateTemperature, kMinLogGate)      beta_t = sigmoid(w_t)     per KV head
//   S_t     = a_t S_t-1 + beta_t k_t (v_t - a_t k_t^T S_t-1)^T                       [d_k, d_v] per KV head
//   o_t     = q_t^T S_t                                                       q, k of length 1, as used here
//
// A token takes from the state what its key finds there, before it adds its own value: a fact that is stated
// again replaces the former one, where DSLA's states (dsla.h) add both up. Keys and queries are divided by
// their lengths, so that beta 1 replaces all of it, and nothing has to be scaled.
//
// Float32 throughout. A piece of more than one row uses the chunk form, one row the recurrence; any cut of a
// sequence into pieces gives the same output and state within float32 rounding. A piece longer than
// kPieceRows is worked through in parts of so many rows, bit for bit as if each were a piece of a later call
// (but for the reference, which rounds the state once a piece). A piece's results do not depend on other
// pieces or on the number of threads, bit for bit.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels {

// Below this length a key or a query is divided by it instead of its own: what is all zeros stays so.
inline constexpr float kMinKeyLength = 1e-12f;

struct DeltaRuleArgs {
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
  float* o;           // [R, n_heads, d_v], row stride o_stride; overwritten for the rows of pieces
  std::int64_t o_stride;
  std::span<const DslaPiece> pieces;  // their states [n_kv, d_k, d_v]
};

// The recurrence in double, token by token.
void delta_rule_ref(const DeltaRuleArgs& args);
void delta_rule_cpu(ThreadPool& pool, const DeltaRuleArgs& args);

}  // namespace dslad::kernels
