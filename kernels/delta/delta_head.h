// The unit of the delta rule's work on the CPU: one KV head of consecutive tokens, with its group of query
// heads.
//
// Internal to kernels/delta. Thread safety: functions of their arguments; distinct heads may run
// concurrently.
#pragma once

#include <cstdint>

#include "kernels/delta/delta_rule.h"
#include "kernels/delta/sequence_delta_rule.h"

namespace dslad::kernels {

struct DeltaHead {
  const DeltaRuleArgs* args;  // its pieces are not used
  std::int64_t first_row, rows;
  int head;

  [[nodiscard]] int group() const { return args->shape.n_heads / args->shape.n_kv; }
  // Tokens t count from first_row. Queries and outputs of the group: [group, d] contiguous.
  [[nodiscard]] const float* q(std::int64_t t) const {
    return args->q + row(t) * args->q_stride + std::int64_t{head} * group() * args->shape.d_k;
  }
  [[nodiscard]] float* o(std::int64_t t) const {
    return args->o + row(t) * args->o_stride + std::int64_t{head} * group() * args->shape.d_v;
  }
  [[nodiscard]] const float* k(std::int64_t t) const {
    return args->k + row(t) * args->k_stride + std::int64_t{head} * args->shape.d_k;
  }
  [[nodiscard]] const float* v(std::int64_t t) const {
    return args->v + row(t) * args->v_stride + std::int64_t{head} * args->shape.d_v;
  }
  // Of the gate and of beta, with the biases.
  [[nodiscard]] float gate_logit(std::int64_t t) const { return logit(t, head); }
  [[nodiscard]] float beta_logit(std::int64_t t) const { return logit(t, args->shape.n_kv + head); }

 private:
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return first_row + t; }
  [[nodiscard]] float logit(std::int64_t t, int channel) const {
    return args->z[row(t) * args->z_stride + channel] + args->bias[channel];
  }
};

// The same with where its gradients go.
struct DeltaGradientHead {
  const SequenceDeltaRuleBackwardArgs* args;
  DeltaHead in;

  [[nodiscard]] const float* d_o(std::int64_t t) const {
    return args->d_o + row(t) * args->forward.o_stride + first_query() * shape().d_v;
  }
  [[nodiscard]] float* dq(std::int64_t t) const {
    return args->dq + row(t) * args->dq_stride + first_query() * shape().d_k;
  }
  [[nodiscard]] float* dk(std::int64_t t) const {
    return args->dk + row(t) * args->dk_stride + std::int64_t{in.head} * shape().d_k;
  }
  [[nodiscard]] float* dv(std::int64_t t) const {
    return args->dv + row(t) * args->dv_stride + std::int64_t{in.head} * shape().d_v;
  }
  [[nodiscard]] float& d_gate_logit(std::int64_t t) const { return d_logits(t)[in.head]; }
  [[nodiscard]] float& d_beta_logit(std::int64_t t) const { return d_logits(t)[shape().n_kv + in.head]; }

 private:
  [[nodiscard]] const DslaShape& shape() const { return args->forward.shape; }
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return in.first_row + t; }
  [[nodiscard]] std::int64_t first_query() const { return std::int64_t{in.head} * in.group(); }
  [[nodiscard]] float* d_logits(std::int64_t t) const { return args->dz + row(t) * args->dz_stride; }
};

// Floats of workspace that delta_chunks needs, 64-byte aligned; one that gives boundaries the same.
std::int64_t delta_workspace(const DslaShape& shape);

// All rows by chunks of kDeltaChunk. state [d_k, d_v]: in/out.
void delta_chunks(const DeltaHead& head, float* state, float* workspace);

// Floats of workspace that the gradient's functions need, 64-byte aligned.
std::int64_t delta_gradient_workspace(const DslaShape& shape);

// states [chunks + 1][d_k, d_v]: from the first, which the caller fills, all states at chunk boundaries up to
// the segment's end.
void delta_boundary_states(const DeltaHead& head, float* states, float* workspace);

// All gradients of one head of a segment. `states` as delta_boundary_states left them; d_state [d_k, d_v]:
// gradient by the state at the segment's end on entry, by the state at its start on return. d_bias [2], of
// the gate and of beta: added to.
void delta_chunk_gradients(const DeltaGradientHead& head, const float* states, float* d_state, double* d_bias,
                           float* workspace);

}  // namespace dslad::kernels
