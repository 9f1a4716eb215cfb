// The unit of DSLA's work on the CPU: one KV head of consecutive tokens, with its group of query heads.
//
// Internal to kernels/dsla. Thread safety: functions of their arguments; distinct heads may run concurrently.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/dsla/dsla.h"

namespace dslad::kernels {

struct DslaHead {
  const DslaArgs* args;
  std::int64_t first_row, rows;
  int head;
  float* states[2];  // [d_k, d_v], in/out; the second is not used where there is one

  [[nodiscard]] int group() const { return args->shape.n_heads / args->shape.n_kv; }
  [[nodiscard]] int n_states() const { return args->shape.states; }
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
  [[nodiscard]] const float* z(std::int64_t t, int i) const {
    return args->z + row(t) * args->z_stride + gate_channel(i);
  }
  [[nodiscard]] const float* gate_bias(int i) const { return args->gate_bias + gate_channel(i); }
  [[nodiscard]] float scale() const { return 1.0f / std::sqrt(static_cast<float>(args->shape.d_k)); }
  // Of query head g of the group.
  [[nodiscard]] float mix(int i, int g) const {
    return args->mix[i * args->shape.n_heads + head * group() + g];
  }

 private:
  [[nodiscard]] std::int64_t row(std::int64_t t) const { return first_row + t; }
  [[nodiscard]] std::int64_t gate_channel(int i) const {
    return (std::int64_t{i} * args->shape.n_kv + head) * args->shape.d_k;
  }
};

// Floats of workspace that either form needs, 64-byte aligned.
std::int64_t dsla_workspace(const DslaShape& shape);

// The recurrence, one row. Bound by the states' bytes.
void dsla_step(const DslaHead& head, float* workspace);

// The chunk form, any number of rows.
void dsla_chunks(const DslaHead& head, float* workspace);

// It by vectors of whatever length the machine has; dsla_chunks() takes AMX where it may.
std::int64_t dsla_chunks_vectors_workspace(const DslaShape& shape);
void dsla_chunks_vectors(const DslaHead& head, float* workspace);

}  // namespace dslad::kernels
