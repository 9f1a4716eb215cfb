#include <algorithm>
#include <cstdint>

#include "kernels/dsla/dsla_head.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/dsla_step.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
#include "kernels/dsla/gates-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

void step_gates(const DslaHead& head, int i, float* gates) {
  const float* z = head.z(0, i);
  const float* bias = head.gate_bias(i);
  for_lanes(head.args->shape.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
    const auto logit = hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j));
    hn::StoreU(gate_of(d, log_gate(d, logit)), d, gates + j);
  });
}

// One state of one KV head, and what a token does to it.
struct StepArgs {
  std::int64_t d_k, d_v;
  const float* gates;    // [d_k]
  const float* key;      // [d_k]
  const float* value;    // [d_v], from the strip's first column
  const float* queries;  // [heads, d_k], scaled
  float* state;          // [d_k, d_v], from the strip's first column
  float* o;              // [heads, d_v], from the strip's first column; added to
  const float* next;     // the state that is wanted after this one, or this one
};

// Query heads that read a row of the state while it is in registers: their sums must fit beside it.
constexpr int kStepHeads = 4;

// The row to be fetched into the second level while row x is at hand.
HWY_INLINE const float* row_ahead(const StepArgs& args, std::int64_t x) {
  constexpr std::int64_t kRowsAhead = 32;
  const std::int64_t ahead = x + kRowsAhead;
  return ahead < args.d_k ? args.state + ahead * args.d_v : args.next + ahead % args.d_k * args.d_v;
}

template <int kHeads, int kVectors, class D>
HWY_INLINE void step_strip(D d, const StepArgs& args) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> value[kVectors];
  hn::Vec<D> sums[kHeads][kVectors];
  for (int j = 0; j < kVectors; ++j) {
    value[j] = hn::LoadU(d, args.value + j * lanes);
    for (int h = 0; h < kHeads; ++h) sums[h][j] = hn::LoadU(d, args.o + h * args.d_v + j * lanes);
  }
  for (std::int64_t x = 0; x < args.d_k; ++x) {
    float* state = args.state + x * args.d_v;
    const float* ahead = row_ahead(args, x);
    for (int j = 0; j < kVectors; ++j) __builtin_prefetch(ahead + j * lanes, 1, 2);
    const auto gate = hn::Set(d, args.gates[x]);
    const auto key = hn::Set(d, args.key[x]);
    hn::Vec<D> row[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      row[j] = hn::MulAdd(key, value[j], hn::Mul(gate, hn::LoadU(d, state + j * lanes)));
      hn::StoreU(row[j], d, state + j * lanes);
    }
    for (int h = 0; h < kHeads; ++h) {
      const auto query = hn::Set(d, args.queries[h * args.d_k + x]);
      for (int j = 0; j < kVectors; ++j) sums[h][j] = hn::MulAdd(query, row[j], sums[h][j]);
    }
  }
  for (int j = 0; j < kVectors; ++j) {
    for (int h = 0; h < kHeads; ++h) hn::StoreU(sums[h][j], d, args.o + h * args.d_v + j * lanes);
  }
}

// Whole vectors of columns, kVectors at a time, then halves of a vector.
template <int kHeads, int kVectors, class D>
HWY_INLINE void step_columns(D d, StepArgs args, std::int64_t columns) {
  const std::int64_t strip = kVectors * static_cast<std::int64_t>(hn::Lanes(d));
  for (; columns >= strip; columns -= strip) {
    step_strip<kHeads, kVectors>(d, args);
    args.value += strip;
    args.state += strip;
    args.next += strip;
    args.o += strip;
  }
  if (columns == 0) return;
  if constexpr (kVectors > 1) {
    step_columns<kHeads, 1>(d, args, columns);
  } else if constexpr (hn::MaxLanes(D()) > 1) {
    step_columns<kHeads, 1>(hn::Half<D>(), args, columns);
  }
}

// The state's update with its first heads' products; REQUIRES: 1 <= heads <= kHeads.
template <int kHeads>
HWY_INLINE void step_heads(const StepArgs& args, int heads) {
  if constexpr (kHeads > 1) {
    if (heads < kHeads) return step_heads<kHeads - 1>(args, heads);
  }
  step_columns<kHeads, kGemmVectors>(hn::ScalableTag<float>(), args, args.d_v);
}

void step(const DslaHead& head, float* workspace) {
  const auto [n_heads, n_kv, d_k, d_v, states] = head.args->shape;
  const int group = head.group();
  const int first_heads = std::min(group, kStepHeads);
  float* gates = workspace;
  float* queries = gates + d_k;  // [group, d_k]
  std::fill_n(head.o(0), std::int64_t{group} * d_v, 0.0f);
  for (int i = 0; i < states; ++i) {
    for (int g = 0; g < group; ++g) {
      const float* q = head.q(0) + std::int64_t{g} * d_k;
      std::transform(q, q + d_k, queries + std::int64_t{g} * d_k,
                     [scale = head.scale() * head.mix(i, g)](float x) { return scale * x; });
    }
    step_gates(head, i, gates);
    step_heads<kStepHeads>(
        {d_k, d_v, gates, head.k(0), head.v(0), queries, head.states[i], head.o(0), head.states[states - 1]},
        first_heads);
    small_gemm<float>(group - first_heads, d_v, d_k, {queries + first_heads * d_k, d_k, 1},
                      {head.states[i], d_v}, {head.o(0) + first_heads * d_v, d_v}, GemmMode::kAccumulate);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(step);

void dsla_step(const DslaHead& head, float* workspace) {
  HWY_DYNAMIC_DISPATCH(step)(head, workspace);
}

}  // namespace dslad::kernels
#endif
