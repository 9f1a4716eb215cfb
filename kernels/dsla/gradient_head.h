// The unit of the gradient's work on the CPU: one KV head of one segment, with its group of query heads.
//
// Internal to kernels/dsla. States and their gradients are TRANSPOSED here, [d_v, W] with all states
// side by side (W = 2 d_k for two): decays then run along vectors, and one product serves them all. Thread
// safety: functions of their arguments; distinct heads may run concurrently.
#pragma once

#include <cstdint>

#include "kernels/dsla/dsla_head.h"
#include "kernels/dsla/sequence_dsla.h"

namespace dslad::kernels {

struct GradientHead {
  const SequenceDslaBackwardArgs* args;
  DslaHead in;  // inputs; its states are not used

  // Tokens t count from the segment's first. Query heads of the group are contiguous.
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
  [[nodiscard]] float* dz(std::int64_t t, int i) const {
    return args->dz + row(t) * args->dz_stride + (std::int64_t{i} * shape().n_kv + in.head) * shape().d_k;
  }

 private:
  [[nodiscard]] const DslaShape& shape() const { return args->forward.shape; }
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return in.first_row + t; }
  [[nodiscard]] std::int64_t first_query() const { return std::int64_t{in.head} * in.group(); }
};

// Sums over a head's tokens, in double; added to.
struct GradientSums {
  double* gate_bias;  // [states, d_k]
  double* mix;        // [states, group]
};

// Floats of workspace that either function needs, 64-byte aligned.
std::int64_t dsla_gradient_workspace(const DslaShape& shape);

// states [chunks + 1][d_v, W]: from the first, which the caller fills, all states at chunk boundaries up
// to the segment's end.
void dsla_boundary_states(const DslaHead& head, float* states, float* workspace);

// All gradients of one head of a segment. `states` as dsla_boundary_states left them;
// d_state [d_v, W]: gradient by the state at the segment's end on entry, by the state at its start on
// return.
void dsla_chunk_gradients(const GradientHead& head, const float* states, float* d_state, GradientSums sums,
                          float* workspace);

}  // namespace dslad::kernels
