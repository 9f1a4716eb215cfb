// The steps that the chunk form and its gradient share, for code that is compiled once per instruction set.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_DELTA_DELTA_STEPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_DELTA_DELTA_STEPS_INL_H_
#undef DSLAD_KERNELS_DELTA_DELTA_STEPS_INL_H_
#else
#define DSLAD_KERNELS_DELTA_DELTA_STEPS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
#include "kernels/delta/delta_head.h"
#include "kernels/delta/delta_workspace.h"
#include "kernels/dsla/gates-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens of one chunk, counted from `first` of the head's.
struct DeltaChunk {
  std::int64_t first, rows;
};

// x . y, in an order that n alone decides.
HWY_INLINE float inner(const float* x, const float* y, std::int64_t n) {
  float lanes[HWY_MAX_BYTES / sizeof(float)] = {};
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), hn::LoadU(d, lanes)), d, lanes);
  });
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum;
}

// y = factor x.
HWY_INLINE void scale(float factor, const float* x, float* y, std::int64_t n) {
  for_lanes(n, [&](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Mul(hn::Set(d, factor), hn::LoadU(d, x + i)), d, y + i); });
}

// y += factor x.
HWY_INLINE void add_scaled(float factor, const float* x, float* y, std::int64_t n) {
  for_lanes(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  });
}

// exp(x), and NaN for NaN.
HWY_INLINE float exp_of(float x) {
  const hn::CappedTag<float, 1> d;
  return hn::GetLane(gate_of(d, hn::Set(d, x)));
}

HWY_INLINE float length_of(const float* x, std::int64_t n) {
  return std::max(std::sqrt(inner(x, x, n)), kMinKeyLength);
}

HWY_INLINE void find_gates(const DeltaHead& head, DeltaChunk chunk, DeltaWorkspace& w) {
  const hn::CappedTag<float, 1> d;
  float sum = 0;
  for (std::int64_t t = 0; t < chunk.rows; ++t) {
    sum += hn::GetLane(log_gate(d, hn::Set(d, head.gate_logit(chunk.first + t))));
    w.sums[t] = sum;
    w.gates[t] = exp_of(sum);
    w.betas[t] = 1.0f / (1.0f + std::exp(-head.beta_logit(chunk.first + t)));
  }
  for (std::int64_t t = 0; t < chunk.rows; ++t) w.ends[t] = exp_of(sum - w.sums[t]);
}

HWY_INLINE void find_units(const DeltaHead& head, DeltaChunk chunk, DeltaWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k, group = head.group();
  const auto unit = [&](const float* from, float* to) { scale(1.0f / length_of(from, d_k), from, to, d_k); };
  for (std::int64_t t = 0; t < chunk.rows; ++t) {
    float* const key = w.units + t * d_k;
    unit(head.k(chunk.first + t), key);
    for (std::int64_t i = 0; i < d_k; ++i) w.keys_t[i * kDeltaChunk + t] = key[i];
    for (std::int64_t g = 0; g < group; ++g)
      unit(head.q(chunk.first + t) + g * d_k, w.units + (chunk.rows + t * group + g) * d_k);
  }
}

// units . keys [rows, C], as they are.
HWY_INLINE void multiply_keys(const DeltaHead& head, DeltaChunk chunk, const DeltaWorkspace& w, float* out) {
  const std::int64_t d_k = head.args->shape.d_k;
  small_gemm<float>(chunk.rows * (1 + head.group()), chunk.rows, d_k, {w.units, d_k, 1},
                    {w.keys_t, kDeltaChunk}, {out, kDeltaChunk}, GemmMode::kOverwrite);
}

// The products of multiply_keys with their decays, and of keys with -beta_t; zero where u is not before t.
HWY_INLINE void fade_scores(const DeltaHead& head, DeltaChunk chunk, const float* products,
                            DeltaWorkspace& w) {
  const std::int64_t group = head.group();
  float decays[kDeltaChunk];
  for (std::int64_t t = 0; t < chunk.rows; ++t) {
    for_lanes(t + 1, [&](auto d, std::int64_t u) HWY_ATTR {
      hn::StoreU(gate_of(d, hn::Sub(hn::Set(d, w.sums[t]), hn::LoadU(d, w.sums + u))), d, decays + u);
    });
    const auto fade = [&](std::int64_t row, std::int64_t n, float factor) HWY_ATTR {
      const float* const from = products + row * kDeltaChunk;
      float* const to = w.scores + row * kDeltaChunk;
      for_lanes(n, [&](auto d, std::int64_t u) HWY_ATTR {
        const auto faded = hn::Mul(hn::LoadU(d, decays + u), hn::LoadU(d, from + u));
        hn::StoreU(hn::Mul(hn::Set(d, factor), faded), d, to + u);
      });
      std::fill(to + n, to + chunk.rows, 0.0f);
    };
    fade(t, t, -w.betas[t]);
    for (std::int64_t g = 0; g < group; ++g) fade(chunk.rows + t * group + g, t + 1, 1.0f);
  }
}

// What the state holds for keys and queries, and u_t = beta_t (v_t - exp(b_t) k_t S) + sum_u<t scores_tu u_u.
HWY_INLINE void find_added(const DeltaHead& head, DeltaChunk chunk, const float* state, DeltaWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k, d_v = head.args->shape.d_v;
  small_gemm<float>(chunk.rows * (1 + head.group()), d_v, d_k, {w.units, d_k, 1}, {state, d_v},
                    {w.found, d_v}, GemmMode::kOverwrite);
  for (std::int64_t t = 0; t < chunk.rows; ++t) {
    const float* const value = head.v(chunk.first + t);
    const float* const found = w.found + t * d_v;
    float* const added = w.added + t * d_v;
    for_lanes(d_v, [&](auto d, std::int64_t j) HWY_ATTR {
      const auto lacking =
          hn::NegMulAdd(hn::Set(d, w.gates[t]), hn::LoadU(d, found + j), hn::LoadU(d, value + j));
      hn::StoreU(hn::Mul(hn::Set(d, w.betas[t]), lacking), d, added + j);
    });
    small_gemm<float>(1, d_v, t, {w.scores + t * kDeltaChunk, kDeltaChunk, 1}, {w.added, d_v}, {added, d_v},
                      GemmMode::kAccumulate);
  }
}

// S = exp(b at the end) S + sum_t exp(b at the end - b_t) k_t u_t^T.
HWY_INLINE void update_state(const DeltaHead& head, DeltaChunk chunk, DeltaWorkspace& w, float* state) {
  const std::int64_t d_k = head.args->shape.d_k, d_v = head.args->shape.d_v;
  const float gate = w.gates[chunk.rows - 1];
  if (chunk.rows == 1) {  // bound by the state's bytes: both at once
    for (std::int64_t i = 0; i < d_k; ++i) {
      float *const row = state + i * d_v, *const added = w.added;
      const float key = w.units[i];
      for_lanes(d_v, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto kept = hn::Mul(hn::Set(d, gate), hn::LoadU(d, row + j));
        hn::StoreU(hn::MulAdd(hn::Set(d, key), hn::LoadU(d, added + j), kept), d, row + j);
      });
    }
    return;
  }
  scale(gate, state, state, d_k * d_v);
  for (std::int64_t i = 0; i < d_k; ++i) {
    const float *const keys = w.keys_t + i * kDeltaChunk, *const ends = w.ends;
    float* const faded = w.faded_t + i * kDeltaChunk;
    for_lanes(chunk.rows, [&](auto d, std::int64_t t) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, keys + t), hn::LoadU(d, ends + t)), d, faded + t);
    });
  }
  small_gemm<float>(d_k, d_v, chunk.rows, {w.faded_t, kDeltaChunk, 1}, {w.added, d_v}, {state, d_v},
                    GemmMode::kAccumulate);
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
