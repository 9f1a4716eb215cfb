#include <algorithm>
#include <cstdint>

#include "kernels/delta/delta_head.h"
#include "kernels/delta/delta_workspace.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/delta/delta_gradient.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/delta/delta_steps-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

std::int64_t unit_rows(const DeltaHead& head, DeltaChunk chunk) {
  return chunk.rows * (1 + head.group());
}

void forward_again(const DeltaHead& head, DeltaChunk chunk, const float* state, DeltaGradientWorkspace& w) {
  find_gates(head, chunk, w.forward);
  find_units(head, chunk, w.forward);
  multiply_keys(head, chunk, w.forward, w.products);
  fade_scores(head, chunk, w.products, w.forward);
  find_added(head, chunk, state, w.forward);
}

void boundary_states(const DeltaHead& head, float* states, float* workspace) {
  DeltaGradientWorkspace w(head.args->shape, workspace);
  const std::int64_t size = std::int64_t{head.args->shape.d_k} * head.args->shape.d_v;
  for (std::int64_t first = 0; first < head.rows; first += kDeltaChunk, states += size) {
    const DeltaChunk chunk{first, std::min(kDeltaChunk, head.rows - first)};
    forward_again(head, chunk, states, w);
    std::copy_n(states, size, states + size);
    update_state(head, chunk, w.forward, states + size);
  }
}

void transpose(const float* from, std::int64_t rows, std::int64_t columns, float* to, std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) to[j * stride + i] = from[i * columns + j];
  }
}

// dU, by what queries read and by what is left in the state, becomes dR by the system's transpose:
//   dU = P^T dO + diag(exp(b_C - b)) K dS         dR_t = dU_t + sum_s>t scores_st dR_s
// The decays' part of the latter goes into d_sums; what it adds to b_C is returned.
float find_d_rows(const DeltaGradientHead& head, DeltaChunk chunk, const float* d_state,
                  DeltaGradientWorkspace& w) {
  const std::int64_t d_k = head.in.args->shape.d_k, d_v = head.in.args->shape.d_v, group = head.in.group();
  const std::int64_t n = chunk.rows;
  float* const d_o = w.d_rows + n * d_v;
  for (std::int64_t t = 0; t < n; ++t)
    std::copy_n(head.d_o(chunk.first + t), group * d_v, d_o + t * group * d_v);
  // Row t of `faded`: k_t dS.
  small_gemm<float>(n, d_v, d_k, {w.forward.units, d_k, 1}, {d_state, d_v}, {w.faded, d_v},
                    GemmMode::kOverwrite);
  float at_end = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    scale(w.forward.ends[t], w.faded + t * d_v, w.d_rows + t * d_v, d_v);
    const float left = inner(w.d_rows + t * d_v, w.forward.added + t * d_v, d_v);
    w.d_sums[t] = -left;
    at_end += left;
  }
  small_gemm<float>(n, d_v, n * group, {w.forward.scores + n * kDeltaChunk, 1, kDeltaChunk}, {d_o, d_v},
                    {w.d_rows, d_v}, GemmMode::kAccumulate);
  for (std::int64_t t = n - 2; t >= 0; --t) {
    small_gemm<float>(1, d_v, n - 1 - t, {w.forward.scores + (t + 1) * kDeltaChunk + t, 1, kDeltaChunk},
                      {w.d_rows + (t + 1) * d_v, d_v}, {w.d_rows + t * d_v, d_v}, GemmMode::kAccumulate);
  }
  return at_end;
}

// By the products of units and keys: of keys -beta_t exp(b_t - b_u) dR_t . u_u, of queries exp(b_t - b_u)
// dO_t . u_u; with the decays' and the betas' part.
void find_d_scores(const DeltaGradientHead& head, DeltaChunk chunk, DeltaGradientWorkspace& w) {
  const std::int64_t d_v = head.in.args->shape.d_v, group = head.in.group(), n = chunk.rows;
  transpose(w.forward.added, n, d_v, w.added_t, kDeltaChunk);
  small_gemm<float>(unit_rows(head.in, chunk), n, d_v, {w.d_rows, d_v, 1}, {w.added_t, kDeltaChunk},
                    {w.d_scores, kDeltaChunk}, GemmMode::kOverwrite);
  float decays[kDeltaChunk];
  for (std::int64_t t = 0; t < n; ++t) {
    for_lanes(t + 1, [&](auto d, std::int64_t u) HWY_ATTR {
      hn::StoreU(gate_of(d, hn::Sub(hn::Set(d, w.forward.sums[t]), hn::LoadU(d, w.forward.sums + u))), d,
                 decays + u);
    });
    // Row `row`'s gradient by its decayed scores becomes that by the products.
    const auto fade = [&](std::int64_t row, std::int64_t before, float factor) HWY_ATTR {
      float* const d_row = w.d_scores + row * kDeltaChunk;
      const float* const scores = w.forward.scores + row * kDeltaChunk;
      w.d_sums[t] += inner(d_row, scores, before);
      for_lanes(before, [&](auto d, std::int64_t u) HWY_ATTR {
        const auto by_score = hn::LoadU(d, d_row + u);
        hn::StoreU(hn::NegMulAdd(by_score, hn::LoadU(d, scores + u), hn::LoadU(d, w.d_sums + u)), d,
                   w.d_sums + u);
        hn::StoreU(hn::Mul(hn::Set(d, factor), hn::Mul(by_score, hn::LoadU(d, decays + u))), d, d_row + u);
      });
      std::fill(d_row + before, d_row + n, 0.0f);
    };
    float* const d_key = w.d_scores + t * kDeltaChunk;
    fade(t, t, -1.0f);
    w.d_betas[t] = inner(d_key, w.products + t * kDeltaChunk, t);
    scale(w.forward.betas[t], d_key, d_key, t);
    for (std::int64_t g = 0; g < group; ++g) fade(n + t * group + g, t + 1, 1.0f);
  }
}

// By what the state held: of keys -beta_t exp(b_t) dR_t, of queries exp(b_t) dO_t; dv and the betas' and the
// decays' part.
void find_d_reads(const DeltaGradientHead& head, DeltaChunk chunk, DeltaGradientWorkspace& w) {
  const std::int64_t d_v = head.in.args->shape.d_v, group = head.in.group(), n = chunk.rows;
  const auto read = [&](std::int64_t row, std::int64_t rows, std::int64_t t, float factor) HWY_ATTR {
    scale(factor, w.d_rows + row * d_v, w.d_reads + row * d_v, rows * d_v);
    w.d_sums[t] += inner(w.d_reads + row * d_v, w.forward.found + row * d_v, rows * d_v);
  };
  for (std::int64_t t = 0; t < n; ++t) {
    const float* const d_row = w.d_rows + t * d_v;
    const float gate = w.forward.gates[t], beta = w.forward.betas[t];
    scale(beta, d_row, head.dv(chunk.first + t), d_v);
    w.d_betas[t] +=
        inner(d_row, head.in.v(chunk.first + t), d_v) - gate * inner(d_row, w.forward.found + t * d_v, d_v);
    read(t, 1, t, -beta * gate);
    read(n + t * group, group, t, gate);
  }
}

// By keys and queries of length 1, in w.d_units.
void find_d_units(const DeltaGradientHead& head, DeltaChunk chunk, const float* state, const float* d_state,
                  DeltaGradientWorkspace& w) {
  const std::int64_t d_k = head.in.args->shape.d_k, d_v = head.in.args->shape.d_v, n = chunk.rows;
  const std::int64_t rows = unit_rows(head.in, chunk);
  transpose(state, d_k, d_v, w.state_t, d_k);
  small_gemm<float>(rows, d_k, d_v, {w.d_reads, d_v, 1}, {w.state_t, d_k}, {w.d_units, d_k},
                    GemmMode::kOverwrite);
  small_gemm<float>(rows, d_k, n, {w.d_scores, kDeltaChunk, 1}, {w.forward.units, d_k}, {w.d_units, d_k},
                    GemmMode::kAccumulate);
  small_gemm<float>(n, d_k, rows, {w.d_scores, 1, kDeltaChunk}, {w.forward.units, d_k}, {w.d_units, d_k},
                    GemmMode::kAccumulate);
  transpose(d_state, d_k, d_v, w.state_t, d_k);
  for (std::int64_t t = 0; t < n; ++t)
    scale(w.forward.ends[t], w.forward.added + t * d_v, w.faded + t * d_v, d_v);
  small_gemm<float>(n, d_k, d_v, {w.faded, d_v, 1}, {w.state_t, d_k}, {w.d_units, d_k},
                    GemmMode::kAccumulate);
}

// dS of the state before the chunk: exp(b_C) dS + units^T d_reads.
void update_d_state(const DeltaGradientHead& head, DeltaChunk chunk, float* d_state,
                    const DeltaGradientWorkspace& w) {
  const std::int64_t d_k = head.in.args->shape.d_k, d_v = head.in.args->shape.d_v;
  scale(w.forward.gates[chunk.rows - 1], d_state, d_state, d_k * d_v);
  small_gemm<float>(d_k, d_v, unit_rows(head.in, chunk), {w.forward.units, 1, d_k}, {w.d_reads, d_v},
                    {d_state, d_v}, GemmMode::kAccumulate);
}

// d <- (d - x (x . d)) / |x| behind a vector's division by its length.
void write_unit_gradient(const float* from, const float* unit, const float* d_unit, std::int64_t n,
                         float* out) {
  const float length = length_of(from, n);
  scale(1.0f / length, d_unit, out, n);
  if (length > kMinKeyLength) add_scaled(-inner(unit, d_unit, n) / length, unit, out, n);
}

void write_gradients(const DeltaGradientHead& head, DeltaChunk chunk, float at_end, double* d_bias,
                     const DeltaGradientWorkspace& w) {
  const std::int64_t d_k = head.in.args->shape.d_k, group = head.in.group(), n = chunk.rows;
  const hn::CappedTag<float, 1> d;
  float d_log_gate = at_end;
  for (std::int64_t t = n - 1; t >= 0; --t) {
    const std::int64_t token = chunk.first + t;
    write_unit_gradient(head.in.k(token), w.forward.units + t * d_k, w.d_units + t * d_k, d_k,
                        head.dk(token));
    for (std::int64_t g = 0; g < group; ++g) {
      const std::int64_t row = n + t * group + g;
      write_unit_gradient(head.in.q(token) + g * d_k, w.forward.units + row * d_k, w.d_units + row * d_k, d_k,
                          head.dq(token) + g * d_k);
    }
    d_log_gate += w.d_sums[t];
    const float beta = w.forward.betas[t];
    head.d_gate_logit(token) =
        d_log_gate * hn::GetLane(log_gate_slope(d, hn::Set(d, head.in.gate_logit(token))));
    head.d_beta_logit(token) = w.d_betas[t] * beta * (1.0f - beta);
    d_bias[0] += head.d_gate_logit(token);
    d_bias[1] += head.d_beta_logit(token);
  }
}

void chunk_gradients(const DeltaGradientHead& head, const float* states, float* d_state, double* d_bias,
                     float* workspace) {
  DeltaGradientWorkspace w(head.in.args->shape, workspace);
  const std::int64_t size = std::int64_t{head.in.args->shape.d_k} * head.in.args->shape.d_v;
  for (std::int64_t c = (head.in.rows - 1) / kDeltaChunk; c >= 0; --c) {
    const std::int64_t first = c * kDeltaChunk;
    const DeltaChunk chunk{first, std::min(kDeltaChunk, head.in.rows - first)};
    const float* const state = states + c * size;
    forward_again(head.in, chunk, state, w);
    float at_end = w.forward.gates[chunk.rows - 1] * inner(state, d_state, size);
    at_end += find_d_rows(head, chunk, d_state, w);
    find_d_scores(head, chunk, w);
    find_d_reads(head, chunk, w);
    find_d_units(head, chunk, state, d_state, w);
    update_d_state(head, chunk, d_state, w);
    write_gradients(head, chunk, at_end, d_bias, w);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(boundary_states);
HWY_EXPORT(chunk_gradients);

std::int64_t delta_gradient_workspace(const DslaShape& shape) {
  return DeltaGradientWorkspace(shape, nullptr).size;
}

void delta_boundary_states(const DeltaHead& head, float* states, float* workspace) {
  HWY_DYNAMIC_DISPATCH(boundary_states)(head, states, workspace);
}

void delta_chunk_gradients(const DeltaGradientHead& head, const float* states, float* d_state, double* d_bias,
                           float* workspace) {
  HWY_DYNAMIC_DISPATCH(chunk_gradients)(head, states, d_state, d_bias, workspace);
}

}  // namespace dslad::kernels
#endif
