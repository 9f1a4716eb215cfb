#include <algorithm>
#include <cmath>
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

// Rows of a state that are updated and then read by all query heads while they are in the nearest cache.
constexpr std::int64_t kStateRows = 16;

void step_gates(const DslaHead& head, int i, float* gates) {
  const float* z = head.z(0, i);
  const float* bias = head.gate_bias(i);
  for_lanes(head.args->shape.d_k, [&](auto d, std::int64_t j) HWY_ATTR {
    const auto logit = hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j));
    hn::StoreU(hn::Exp(d, log_gate(d, logit)), d, gates + j);
  });
}

void update_row(float gate, float key, const float* value, std::int64_t n, float* state) {
  for_lanes(n, [&](auto d, std::int64_t j) HWY_ATTR {
    const auto kept = hn::Mul(hn::Set(d, gate), hn::LoadU(d, state + j));
    hn::StoreU(hn::MulAdd(hn::Set(d, key), hn::LoadU(d, value + j), kept), d, state + j);
  });
}

void step(const DslaHead& head, float* workspace) {
  const auto [n_heads, n_kv, d_k, d_v] = head.args->shape;
  float* gates = workspace;
  float* queries = gates + d_k;  // [group, d_k]
  for (int i = 0; i < 2; ++i) {
    const float scale = head.args->mix[i] / std::sqrt(static_cast<float>(d_k));
    std::transform(head.q(0), head.q(0) + std::int64_t{head.group()} * d_k, queries,
                   [scale](float x) { return scale * x; });
    step_gates(head, i, gates);
    for (std::int64_t a = 0; a < d_k; a += kStateRows) {
      const std::int64_t rows = std::min<std::int64_t>(kStateRows, d_k - a);
      float* state = head.state(i) + a * d_v;
      for (std::int64_t x = 0; x < rows; ++x) {
        update_row(gates[a + x], head.k(0)[a + x], head.v(0), d_v, state + x * d_v);
      }
      small_gemm<float>(head.group(), d_v, rows, {queries + a, d_k, 1}, {state, d_v}, {head.o(0), d_v},
                        i == 0 && a == 0 ? GemmMode::kOverwrite : GemmMode::kAccumulate);
    }
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
