#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "kernels/dsla/gradient_head.h"
#include "kernels/dsla/gradient_workspace.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/dsla_gradient.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/dsla/sub_block-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

struct Widths {
  explicit Widths(const DslaHead& head)
      : d_k(head.args->shape.d_k),
        d_v(head.args->shape.d_v),
        states(head.n_states()),
        channels(head.args->shape.channels()),
        group(head.args->shape.n_heads / head.args->shape.n_kv) {}
  std::int64_t d_k, d_v;
  int states;
  std::int64_t channels, group;
};

void multiply(std::int64_t n, float* x, const float* factors) {
  for_lanes(n, [&](auto d, std::int64_t j) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + j), hn::LoadU(d, factors + j)), d, x + j);
  });
}

void multiply_add(std::int64_t n, const float* a, const float* b, float* sum) {
  for_lanes(n, [&](auto d, std::int64_t j) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, a + j), hn::LoadU(d, b + j), hn::LoadU(d, sum + j)), d, sum + j);
  });
}

void add(std::int64_t n, const float* x, float* sum) {
  for_lanes(n, [&](auto d, std::int64_t j)
                   HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(d, sum + j), hn::LoadU(d, x + j)), d, sum + j); });
}

// row [W] = k times the decays of all states.
void decay_key(const Widths& n, const float* k, const float* decays, float* row) {
  for (int i = 0; i < n.states; ++i) {
    for_lanes(n.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
      const std::int64_t channel = i * n.d_k + j;
      hn::StoreU(hn::Mul(hn::LoadU(d, k + j), hn::LoadU(d, decays + channel)), d, row + channel);
    });
  }
}

// The state at the end of a chunk from the state at its start, the chunk's rows walked backwards.
void next_state(const DslaHead& head, std::int64_t first, std::int64_t rows, const float* state, float* next,
                GradientWorkspace& w) {
  const Widths n(head);
  float* decay = w.growth;
  float* log_sum = w.d_log_gate;
  std::fill_n(decay, n.channels, 1.0f);
  std::fill_n(log_sum, n.channels, 0.0f);
  for (std::int64_t t = rows - 1; t >= 0; --t) {
    decay_key(n, head.k(first + t), decay, w.keys + t * n.channels);
    for (int i = 0; i < n.states; ++i) {
      const float* z = head.z(first + t, i);
      const float* bias = head.gate_bias(i);
      for_lanes(n.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const std::int64_t channel = i * n.d_k + j;
        const auto log_a = log_gate(d, hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j)));
        hn::StoreU(hn::Mul(hn::LoadU(d, decay + channel), gate_of(d, log_a)), d, decay + channel);
        hn::StoreU(hn::Add(hn::LoadU(d, log_sum + channel), log_a), d, log_sum + channel);
      });
    }
  }
  for_lanes(n.channels, [&](auto d, std::int64_t j)
                            HWY_ATTR { hn::StoreU(hn::Exp(d, hn::LoadU(d, log_sum + j)), d, decay + j); });
  std::copy_n(state, n.d_v * n.channels, next);
  for (std::int64_t x = 0; x < n.d_v; ++x) multiply(n.channels, next + x * n.channels, decay);
  small_gemm<float>(n.d_v, n.channels, rows, {head.v(first), 1, head.args->v_stride}, {w.keys, n.channels},
                    {next, n.channels}, GemmMode::kAccumulate);
}

void boundary_states(const DslaHead& head, float* states, float* workspace) {
  GradientWorkspace w(head.args->shape, workspace);
  const Widths n(head);
  for (std::int64_t first = 0; first < head.rows; first += kDslaChunk) {
    next_state(head, first, std::min(kDslaChunk, head.rows - first), states, states + n.d_v * n.channels, w);
    states += n.d_v * n.channels;
  }
}

// Sums start at zero; g is the sum over d_v of the state at the chunk's end times the gradient by it.
void start_chunk(const GradientHead& head, std::int64_t first, std::int64_t rows, const float* end_state,
                 const float* d_state, GradientWorkspace& w) {
  const Widths n(head.in);
  w.forward.start_chunk();
  std::fill_n(w.d_values_t, n.d_v * kDslaChunk, 0.0f);
  std::fill_n(w.d_keys, kDslaChunk * n.channels, 0.0f);
  std::fill_n(w.d_state_next, n.d_v * n.channels, 0.0f);
  std::fill_n(w.d_log_gate, n.channels, 0.0f);
  std::fill_n(w.bias_sums, n.channels, 0.0f);
  std::fill_n(w.mix_sums, n.group * n.channels, 0.0f);
  for (std::int64_t x = 0; x < n.d_v; ++x) {
    multiply_add(n.channels, end_state + x * n.channels, d_state + x * n.channels, w.d_log_gate);
  }
  for (std::int64_t t = 0; t < rows; ++t) {
    const float* v = head.in.v(first + t);
    for (std::int64_t x = 0; x < n.d_v; ++x) w.values_t[x * kDslaChunk + t] = v[x];
  }
}

// dA = dO V^T and dV += A^T dO. Above the diagonal A is zero and dA is never read.
void pass_scores(const GradientHead& head, SubBlock block, GradientWorkspace& w) {
  const Widths n(head.in);
  const std::int64_t queries = block.rows * n.group;
  const std::int64_t end = block.start + block.rows;
  for (std::int64_t t = 0; t < block.rows; ++t) {
    std::copy_n(head.d_o(block.first + t), n.group * n.d_v, w.d_out + t * n.group * n.d_v);
  }
  small_gemm<float>(queries, end, n.d_v, {w.d_out, n.d_v, 1}, {w.values_t, kDslaChunk},
                    {w.d_scores, kDslaChunk}, GemmMode::kOverwrite);
  small_gemm<float>(n.d_v, end, queries, {w.d_out, 1, n.d_v}, {w.forward.scores(0), kDslaChunk},
                    {w.d_values_t, kDslaChunk}, GemmMode::kAccumulate);
}

// Through the anchor: what the state at the chunk's start and the earlier sub-blocks give to the sub-block's
// queries, and what these give back to the earlier keys.
void pass_anchor(const GradientHead& head, SubBlock block, const float* state, GradientWorkspace& w) {
  const Widths n(head.in);
  const std::int64_t queries = block.rows * n.group;
  small_gemm<float>(queries, n.channels, n.d_v, {w.d_out, n.d_v, 1}, {state, n.channels},
                    {w.d_queries, n.channels}, GemmMode::kOverwrite);
  for (std::int64_t row = 0; row < queries; ++row) {
    multiply(n.channels, w.d_queries + row * n.channels, w.forward.anchor(0));
  }
  if (block.start > 0) {
    for (std::int64_t u = 0; u < block.start; ++u) {
      decay_key(n, head.in.k(block.first - block.start + u), w.decays + u * n.channels,
                w.keys + u * n.channels);
    }
    small_gemm<float>(queries, n.channels, block.start, {w.d_scores, kDslaChunk, 1}, {w.keys, n.channels},
                      {w.d_queries, n.channels}, GemmMode::kAccumulate);
    small_gemm<float>(block.start, n.channels, queries, {w.d_scores, 1, kDslaChunk},
                      {w.forward.near(0, 0), n.channels}, {w.products, n.channels}, GemmMode::kOverwrite);
    multiply_add(block.start * n.channels, w.decays, w.products, w.d_keys);
  }
  std::fill_n(w.growth, n.channels, 1.0f);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    multiply(n.channels, w.growth, w.forward.gate(0, t));
    for (std::int64_t g = 0; g < n.group; ++g) {
      multiply(n.channels, w.d_queries + (t * n.group + g) * n.channels, w.growth);
    }
  }
}

// The sub-block against itself, element by element.
void pass_diagonal(const GradientHead& head, SubBlock block, GradientWorkspace& w) {
  const Widths n(head.in);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    const std::int64_t row = t * n.group;
    const float* d_scores = w.d_scores + row * kDslaChunk + block.start;
    small_gemm<float>(t + 1, n.channels, n.group, {d_scores, 1, kDslaChunk},
                      {w.forward.scaled(0, row), n.channels}, {w.products, n.channels}, GemmMode::kOverwrite);
    for (std::int64_t u = 0; u < t; ++u) {
      multiply(n.channels, w.pair_decays + u * n.channels, w.forward.gate(0, t));
    }
    std::fill_n(w.pair_decays + t * n.channels, n.channels, 1.0f);
    for (std::int64_t u = 0; u <= t; ++u) {
      decay_key(n, head.in.k(block.first + u), w.pair_decays + u * n.channels, w.keys + u * n.channels);
    }
    multiply_add((t + 1) * n.channels, w.pair_decays, w.products, w.d_keys + block.start * n.channels);
    small_gemm<float>(n.group, n.channels, t + 1, {d_scores, kDslaChunk, 1}, {w.keys, n.channels},
                      {w.d_queries + row * n.channels, n.channels}, GemmMode::kAccumulate);
  }
}

// dq, and the sums that the mixture's gradient and the gates' want of it.
void finish_queries(const GradientHead& head, SubBlock block, GradientWorkspace& w) {
  const Widths n(head.in);
  const float scale = head.in.scale();
  for (std::int64_t t = 0; t < block.rows; ++t) {
    const float* q = head.in.q(block.first + t);
    float* dq = head.dq(block.first + t);
    float* parts = w.query_parts + (block.start + t) * n.channels;
    std::fill_n(dq, n.group * n.d_k, 0.0f);
    std::fill_n(parts, n.channels, 0.0f);
    for (std::int64_t g = 0; g < n.group; ++g) {
      for (int i = 0; i < n.states; ++i) {
        const float* d_query = w.d_queries + (t * n.group + g) * n.channels + i * n.d_k;
        float* part = parts + i * n.d_k;
        float* mix_sum = w.mix_sums + g * n.channels + i * n.d_k;
        const float factor = scale * head.in.mix(i, static_cast<int>(g));
        for_lanes(n.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
          const auto gradient = hn::LoadU(d, d_query + j);
          const auto scaled = hn::Mul(hn::Set(d, factor), gradient);
          const auto query = hn::LoadU(d, q + g * n.d_k + j);
          float* dq_at = dq + g * n.d_k + j;
          hn::StoreU(hn::Add(hn::LoadU(d, dq_at), scaled), d, dq_at);
          hn::StoreU(hn::MulAdd(query, scaled, hn::LoadU(d, part + j)), d, part + j);
          hn::StoreU(hn::MulAdd(query, gradient, hn::LoadU(d, mix_sum + j)), d, mix_sum + j);
        });
      }
    }
  }
}

// Moves the anchor to the sub-block's end.
void advance_decays(const DslaHead& head, SubBlock block, GradientWorkspace& w) {
  const Widths n(head);
  std::fill_n(w.growth, n.channels, 1.0f);
  for (std::int64_t t = block.rows - 1; t >= 0; --t) {
    std::copy_n(w.growth, n.channels, w.decays + (block.start + t) * n.channels);
    multiply(n.channels, w.growth, w.forward.gate(0, t));
  }
  for (std::int64_t u = 0; u < block.start; ++u) multiply(n.channels, w.decays + u * n.channels, w.growth);
}

// What leaves the chunk through the state at its end: dK += (V dS^T) exp(b_C - b), dV += (K exp(b_C - b)) dS.
void finish_keys_and_values(const GradientHead& head, std::int64_t first, std::int64_t rows,
                            const float* d_state, GradientWorkspace& w) {
  const Widths n(head.in);
  small_gemm<float>(rows, n.channels, n.d_v, {head.in.v(first), head.in.args->v_stride, 1},
                    {d_state, n.channels}, {w.products, n.channels}, GemmMode::kOverwrite);
  multiply_add(rows * n.channels, w.decays, w.products, w.d_keys);
  small_gemm<float>(n.d_v, rows, n.channels, {d_state, n.channels, 1}, {w.forward.keys(0), kDslaChunk},
                    {w.d_values_t, kDslaChunk}, GemmMode::kAccumulate);
  for (std::int64_t t = 0; t < rows; ++t) {
    float* dv = head.dv(first + t);
    for (std::int64_t x = 0; x < n.d_v; ++x) dv[x] = w.d_values_t[x * kDslaChunk + t];
    const float* of_states = w.d_keys + t * n.channels;
    float* dk = head.dk(first + t);
    std::copy_n(of_states, n.d_k, dk);
    for (int i = 1; i < n.states; ++i) add(n.d_k, of_states + i * n.d_k, dk);
  }
}

// g += q * dq_i - k * dk_i backwards from the chunk's end; dz = g d log a / dz.
void finish_gates(const GradientHead& head, std::int64_t first, std::int64_t rows, GradientWorkspace& w) {
  const Widths n(head.in);
  for (std::int64_t t = rows - 1; t >= 0; --t) {
    const float* k = head.in.k(first + t);
    for (int i = 0; i < n.states; ++i) {
      const float* part = w.query_parts + t * n.channels + i * n.d_k;
      const float* d_key = w.d_keys + t * n.channels + i * n.d_k;
      const float* z = head.in.z(first + t, i);
      const float* bias = head.in.gate_bias(i);
      float* sum = w.d_log_gate + i * n.d_k;
      float* bias_sum = w.bias_sums + i * n.d_k;
      float* dz = head.dz(first + t, i);
      for_lanes(n.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto with_query = hn::Add(hn::LoadU(d, sum + j), hn::LoadU(d, part + j));
        const auto g = hn::NegMulAdd(hn::LoadU(d, k + j), hn::LoadU(d, d_key + j), with_query);
        hn::StoreU(g, d, sum + j);
        const auto logit = hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j));
        const auto gradient = hn::Mul(g, log_gate_slope(d, logit));
        hn::StoreU(gradient, d, dz + j);
        hn::StoreU(hn::Add(hn::LoadU(d, bias_sum + j), gradient), d, bias_sum + j);
      });
    }
  }
}

void finish_sums(const DslaHead& head, GradientSums sums, const GradientWorkspace& w) {
  const Widths n(head);
  for (std::int64_t j = 0; j < n.channels; ++j) sums.gate_bias[j] += double{w.bias_sums[j]};
  const double root = 1.0 / std::sqrt(static_cast<double>(n.d_k));
  for (std::int64_t g = 0; g < n.group; ++g) {
    for (int i = 0; i < n.states; ++i) {
      const float* parts = w.mix_sums + g * n.channels + i * n.d_k;
      sums.mix[i * n.group + g] += root * std::accumulate(parts, parts + n.d_k, 0.0);
    }
  }
}

void chunk_gradient(const GradientHead& head, std::int64_t first, std::int64_t rows, const float* state,
                    float* d_state, GradientSums sums, GradientWorkspace& w) {
  const Widths n(head.in);
  start_chunk(head, first, rows, state + n.d_v * n.channels, d_state, w);
  for (std::int64_t start = 0; start < rows; start += kDslaSubBlock) {
    const SubBlock block{first + start, std::min(kDslaSubBlock, rows - start), start};
    find_gates(head.in, block, w.forward);
    scale_queries(head.in, block, w.forward);
    score_earlier(head.in, block, w.forward);
    score_diagonal(head.in, block, w.forward);
    pass_scores(head, block, w);
    pass_anchor(head, block, state, w);
    pass_diagonal(head, block, w);
    finish_queries(head, block, w);
    small_gemm<float>(n.d_v, n.channels, block.rows * n.group, {w.d_out, 1, n.d_v},
                      {w.forward.far(0, 0), n.channels}, {w.d_state_next, n.channels}, GemmMode::kAccumulate);
    advance_keys(head.in, block, w.forward);
    advance_decays(head.in, block, w);
  }
  finish_keys_and_values(head, first, rows, d_state, w);
  finish_gates(head, first, rows, w);
  finish_sums(head.in, sums, w);
  for (std::int64_t x = 0; x < n.d_v; ++x) {
    float* row = d_state + x * n.channels;
    const float* added = w.d_state_next + x * n.channels;
    for_lanes(n.channels, [&](auto d, std::int64_t j) HWY_ATTR {
      const auto decay = hn::LoadU(d, w.forward.anchor(0) + j);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, row + j), decay, hn::LoadU(d, added + j)), d, row + j);
    });
  }
}

void chunk_gradients(const GradientHead& head, const float* states, float* d_state, GradientSums sums,
                     float* workspace) {
  GradientWorkspace w(head.in.args->shape, workspace);
  const Widths n(head.in);
  for (std::int64_t chunk = (head.in.rows - 1) / kDslaChunk; chunk >= 0; --chunk) {
    const std::int64_t first = chunk * kDslaChunk;
    chunk_gradient(head, first, std::min(kDslaChunk, head.in.rows - first),
                   states + chunk * n.d_v * n.channels, d_state, sums, w);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(boundary_states);
HWY_EXPORT(chunk_gradients);

void dsla_boundary_states(const DslaHead& head, float* states, float* workspace) {
  HWY_DYNAMIC_DISPATCH(boundary_states)(head, states, workspace);
}

void dsla_chunk_gradients(const GradientHead& head, const float* states, float* d_state, GradientSums sums,
                          float* workspace) {
  HWY_DYNAMIC_DISPATCH(chunk_gradients)(head, states, d_state, sums, workspace);
}

std::int64_t dsla_gradient_workspace(const DslaShape& shape) {
  return GradientWorkspace::floats(shape);
}

}  // namespace dslad::kernels
#endif
