#include <algorithm>
#include <cstdint>

#include "kernels/dsla/chunk_workspace.h"
#include "kernels/dsla/dsla_head.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dsla/dsla_chunk.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
#include "kernels/dsla/gates-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {

// The sub-block at hand: rows [first, first + rows) of the piece, the chunk's tokens [start, start + rows).
struct SubBlock {
  std::int64_t first, rows;
  std::int64_t start;
};

// Gates of the sub-block, and their log-sum added to the chunk's.
void find_gates(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  for (int i = 0; i < 2; ++i) {
    const float* bias = head.gate_bias(i);
    float* log_sum = w.log_sum(i);
    for (std::int64_t t = 0; t < block.rows; ++t) {
      const float* z = head.z(block.first + t, i);
      float* gate = w.gate(i, t);
      for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto log_a = log_gate(d, hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j)));
        hn::StoreU(hn::Exp(d, log_a), d, gate + j);
        hn::StoreU(hn::Add(hn::LoadU(d, log_sum + j), log_a), d, log_sum + j);
      });
    }
  }
}

// scaled = s w_i q, near = scaled exp(b_t - anchor), far = near exp(anchor): the anchor is b at the
// sub-block's start.
void scale_queries(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const int group = head.group();
  for (int i = 0; i < 2; ++i) {
    const float* anchor = w.anchor(i);
    float* decay = w.decay();
    std::fill(decay, decay + d_k, 1.0f);
    for (std::int64_t t = 0; t < block.rows; ++t) {
      const float* gate = w.gate(i, t);
      const float* q = head.q(block.first + t);
      for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto now = hn::Mul(hn::LoadU(d, decay + j), hn::LoadU(d, gate + j));
        hn::StoreU(now, d, decay + j);
        for (int g = 0; g < group; ++g) {
          const std::int64_t row = t * group + g;
          const auto scaled = hn::Mul(hn::Set(d, head.scale(i, g)), hn::LoadU(d, q + g * d_k + j));
          const auto near = hn::Mul(now, scaled);
          hn::StoreU(scaled, d, w.scaled(i, row) + j);
          hn::StoreU(near, d, w.near(i, row) + j);
          hn::StoreU(hn::Mul(near, hn::LoadU(d, anchor + j)), d, w.far(i, row) + j);
        }
      });
    }
  }
}

// One token more for the sub-block's keys: column u of `decayed` holds k_u decayed to the token at hand,
// and zero until u has come.
void decay_keys(const DslaHead& head, SubBlock block, std::int64_t t, ChunkWorkspace& w) {
  const hn::CappedTag<float, kDslaSubBlock> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const float* k = head.k(block.first + t);
  for (std::int64_t u = 0; u < kDslaSubBlock; u += lanes) {
    const auto joins = hn::Eq(hn::Iota(d, static_cast<float>(u)), hn::Set(d, static_cast<float>(t)));
    for (std::int64_t j = 0; j < head.args->shape.d_k; ++j) {
      const auto key = hn::Set(d, k[j]);
      for (int i = 0; i < 2; ++i) {
        const auto kept = hn::Mul(hn::Load(d, w.decayed(i, j) + u), hn::Set(d, w.gate(i, t)[j]));
        hn::Store(hn::IfThenElse(joins, key, kept), d, w.decayed(i, j) + u);
      }
    }
  }
}

// Scores of the sub-block against itself, element by element; nothing above the diagonal ever counts.
void score_diagonal(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  std::fill(w.decayed(0, 0), w.decayed(2, 0), 0.0f);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    decay_keys(head, block, t, w);
    const std::int64_t row = t * head.group();
    small_gemm<float>(head.group(), kDslaSubBlock, 2 * d_k, {w.scaled(0, row), 2 * d_k, 1},
                      {w.decayed(0, 0), kDslaSubBlock}, {w.scores(row) + block.start, kDslaChunk},
                      GemmMode::kOverwrite);
  }
}

// o = far S (what came before the chunk) + scores V (the chunk so far).
void write_rows(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const std::int64_t d_v = head.args->shape.d_v;
  const std::int64_t queries = block.rows * head.group();
  if (block.start > 0) {
    small_gemm<float>(queries, block.start, 2 * d_k, {w.near(0, 0), 2 * d_k, 1}, {w.keys(0), kDslaChunk},
                      {w.scores(0), kDslaChunk}, GemmMode::kOverwrite);
  }
  for (int i = 0; i < 2; ++i) {
    small_gemm<float>(queries, d_v, d_k, {w.far(i, 0), 2 * d_k, 1}, {head.state(i), d_v}, {w.out(0), d_v},
                      i == 0 ? GemmMode::kOverwrite : GemmMode::kAccumulate);
  }
  small_gemm<float>(queries, d_v, block.start + block.rows, {w.scores(0), kDslaChunk, 1},
                    {head.v(block.first - block.start), head.args->v_stride}, {w.out(0), d_v},
                    GemmMode::kAccumulate);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    std::copy_n(w.out(t * head.group()), head.group() * d_v, head.o(block.first + t));
  }
}

// Moves the anchor to the sub-block's end: keys of the chunk decay to it, those of the sub-block join.
void advance_keys(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  for (int i = 0; i < 2; ++i) {
    float* decay = w.decay();
    std::fill(decay, decay + d_k, 1.0f);
    for (std::int64_t t = block.rows - 1; t >= 0; --t) {
      const float* k = head.k(block.first + t);
      for (std::int64_t j = 0; j < d_k; ++j) {
        w.keys(i * d_k + j)[block.start + t] = k[j] * decay[j];
        decay[j] *= w.gate(i, t)[j];
      }
    }
    for (std::int64_t j = 0; j < d_k; ++j) {
      for_lanes(block.start, [&](auto d, std::int64_t u) HWY_ATTR {
        float* key = w.keys(i * d_k + j) + u;
        hn::StoreU(hn::Mul(hn::LoadU(d, key), hn::Set(d, decay[j])), d, key);
      });
    }
    for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
      hn::StoreU(hn::Exp(d, hn::LoadU(d, w.log_sum(i) + j)), d, w.anchor(i) + j);
    });
  }
}

// S_i = diag(exp(b at the chunk's end)) S_i + keys V, the keys being decayed to that end.
void update_states(const DslaHead& head, std::int64_t first, std::int64_t rows, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const std::int64_t d_v = head.args->shape.d_v;
  for (int i = 0; i < 2; ++i) {
    for (std::int64_t j = 0; j < d_k; ++j) {
      float* state = head.state(i) + j * d_v;
      const float decay = w.anchor(i)[j];
      for_lanes(d_v, [&](auto d, std::int64_t x) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::LoadU(d, state + x), hn::Set(d, decay)), d, state + x);
      });
    }
    small_gemm<float>(d_k, d_v, rows, {w.keys(i * d_k), kDslaChunk, 1}, {head.v(first), head.args->v_stride},
                      {head.state(i), d_v}, GemmMode::kAccumulate);
  }
}

void chunks(const DslaHead& head, float* workspace) {
  ChunkWorkspace w(head.args->shape, workspace);
  for (std::int64_t first = 0; first < head.piece->rows; first += kDslaChunk) {
    const std::int64_t rows = std::min(kDslaChunk, head.piece->rows - first);
    w.start_chunk();
    for (std::int64_t start = 0; start < rows; start += kDslaSubBlock) {
      const SubBlock block{first + start, std::min(kDslaSubBlock, rows - start), start};
      find_gates(head, block, w);
      scale_queries(head, block, w);
      score_diagonal(head, block, w);
      write_rows(head, block, w);
      advance_keys(head, block, w);
    }
    update_states(head, first, rows, w);
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::kernels {

HWY_EXPORT(chunks);

void dsla_chunks(const DslaHead& head, float* workspace) {
  HWY_DYNAMIC_DISPATCH(chunks)(head, workspace);
}

std::int64_t dsla_workspace(const DslaShape& shape) {
  return ChunkWorkspace::floats(shape);
}

}  // namespace dslad::kernels
#endif
