#include <algorithm>
#include <cstdint>

#include "kernels/delta/delta_head.h"
#include "kernels/delta/delta_workspace.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/delta/delta_chunk.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/delta/delta_steps-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

// o = exp(b_t) q S (what came before the chunk) + scores U (the chunk itself).
void write_rows(const DeltaHead& head, DeltaChunk chunk, DeltaWorkspace& w) {
  const std::int64_t d_v = head.args->shape.d_v, group = head.group();
  float* const out = w.found + chunk.rows * d_v;
  for (std::int64_t t = 0; t < chunk.rows; ++t)
    scale(w.gates[t], out + t * group * d_v, out + t * group * d_v, group * d_v);
  small_gemm<float>(chunk.rows * group, d_v, chunk.rows,
                    {w.scores + chunk.rows * kDeltaChunk, kDeltaChunk, 1}, {w.added, d_v}, {out, d_v},
                    GemmMode::kAccumulate);
  for (std::int64_t t = 0; t < chunk.rows; ++t)
    std::copy_n(out + t * group * d_v, group * d_v, head.o(chunk.first + t));
}

// One row is the recurrence: it has no earlier keys in its chunk.
void chunks(const DeltaHead& head, float* state, float* workspace) {
  DeltaWorkspace w(head.args->shape, workspace);
  for (std::int64_t first = 0; first < head.rows; first += kDeltaChunk) {
    const DeltaChunk chunk{first, std::min(kDeltaChunk, head.rows - first)};
    find_gates(head, chunk, w);
    find_units(head, chunk, w);
    multiply_keys(head, chunk, w, w.scores);
    fade_scores(head, chunk, w.scores, w);
    find_added(head, chunk, state, w);
    write_rows(head, chunk, w);
    update_state(head, chunk, w, state);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(chunks);

std::int64_t delta_workspace(const DslaShape& shape) {
  return DeltaWorkspace(shape, nullptr).size;
}

void delta_chunks(const DeltaHead& head, float* state, float* workspace) {
  HWY_DYNAMIC_DISPATCH(chunks)(head, state, workspace);
}

}  // namespace dslad::kernels
#endif
