#include <algorithm>
#include <cstdint>

#include "kernels/dsla/chunk_workspace.h"
#include "kernels/dsla/dsla_chunk_amx.h"
#include "kernels/dsla/dsla_head.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/dsla_chunk.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/dsla/sub_block-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

// A chunk is one sub-block here: the states are decayed four times as often as with kDslaChunk, which costs
// less than the products between sub-blocks do.

// o = far S (what came before the chunk) + scores V (the chunk itself).
void write_rows(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const std::int64_t d_v = head.args->shape.d_v;
  const std::int64_t queries = block.rows * head.group();
  for (int i = 0; i < head.n_states(); ++i) {
    small_gemm<float>(queries, d_v, d_k, {w.far(i, 0), head.args->shape.channels(), 1}, {head.states[i], d_v},
                      {w.out(0), d_v}, i == 0 ? GemmMode::kOverwrite : GemmMode::kAccumulate);
  }
  small_gemm<float>(queries, d_v, block.rows, {w.scores(0), w.chunk(), 1},
                    {head.v(block.first), head.args->v_stride}, {w.out(0), d_v}, GemmMode::kAccumulate);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    std::copy_n(w.out(t * head.group()), head.group() * d_v, head.o(block.first + t));
  }
}

// S_i = diag(exp(b at the chunk's end)) S_i + keys V, the keys being decayed to that end.
void update_states(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const std::int64_t d_v = head.args->shape.d_v;
  for (int i = 0; i < head.n_states(); ++i) {
    for (std::int64_t j = 0; j < d_k; ++j) {
      float* state = head.states[i] + j * d_v;
      const float decay = w.anchor(i)[j];
      for_lanes(d_v, [&](auto d, std::int64_t x) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::LoadU(d, state + x), hn::Set(d, decay)), d, state + x);
      });
    }
    small_gemm<float>(d_k, d_v, block.rows, {w.keys(i * d_k), w.chunk(), 1},
                      {head.v(block.first), head.args->v_stride}, {head.states[i], d_v},
                      GemmMode::kAccumulate);
  }
}

void chunks(const DslaHead& head, float* workspace) {
  ChunkWorkspace w(head.args->shape, kDslaSubBlock, workspace);
  for (std::int64_t first = 0; first < head.rows; first += kDslaSubBlock) {
    const SubBlock block{first, std::min(kDslaSubBlock, head.rows - first), 0};
    w.start_chunk();
    find_gates(head, block, w);
    scale_queries(head, block, w);
    score_diagonal(head, block, w);
    write_rows(head, block, w);
    advance_keys(head, block, w);
    update_states(head, block, w);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(chunks);

void dsla_chunks(const DslaHead& head, float* workspace) {
  if (amx_chunks(head.args->shape)) {
    dsla_chunks_amx(head, workspace);
  } else {
    dsla_chunks_vectors(head, workspace);
  }
}

std::int64_t dsla_workspace(const DslaShape& shape) {
  return amx_chunks(shape) ? dsla_chunks_amx_workspace(shape) : dsla_chunks_vectors_workspace(shape);
}

void dsla_chunks_vectors(const DslaHead& head, float* workspace) {
  HWY_DYNAMIC_DISPATCH(chunks)(head, workspace);
}

std::int64_t dsla_chunks_vectors_workspace(const DslaShape& shape) {
  return ChunkWorkspace::floats(shape, kDslaSubBlock);
}

}  // namespace dslad::kernels
#endif
