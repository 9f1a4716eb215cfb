// The steps through a sub-block that the chunk form's forward and backward pass share, for code that is
// compiled once per instruction set. README.md numbers them.

// Per-target include guard, as Highway wants it.
#if defined(DSLAD_KERNELS_DSLA_SUB_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DSLAD_KERNELS_DSLA_SUB_BLOCK_INL_H_
#undef DSLAD_KERNELS_DSLA_SUB_BLOCK_INL_H_
#else
#define DSLAD_KERNELS_DSLA_SUB_BLOCK_INL_H_
#endif

// clang-format off
#include <algorithm>
#include <cstdint>
#include <hwy/highway.h>
#include "kernels/cpu/for_lanes-inl.h"
#include "kernels/cpu/small_gemm-inl.h"
#include "kernels/dsla/chunk_workspace.h"
#include "kernels/dsla/dsla_head.h"
#include "kernels/dsla/gates-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sub-block at hand: rows [first, first + rows) of the head, the chunk's tokens [start, start + rows).
struct SubBlock {
  std::int64_t first, rows;
  std::int64_t start;
};

// Gates of the sub-block, and their log-sum added to the chunk's.
inline void find_gates(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  for (int i = 0; i < head.n_states(); ++i) {
    const float* bias = head.gate_bias(i);
    float* log_sum = w.log_sum(i);
    for (std::int64_t t = 0; t < block.rows; ++t) {
      const float* z = head.z(block.first + t, i);
      float* gate = w.gate(i, t);
      for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto log_a = log_gate(d, hn::Add(hn::LoadU(d, z + j), hn::LoadU(d, bias + j)));
        hn::StoreU(gate_of(d, log_a), d, gate + j);
        hn::StoreU(hn::Add(hn::LoadU(d, log_sum + j), log_a), d, log_sum + j);
      });
    }
  }
}

// scaled = s w_i q, near = scaled exp(b_t - anchor), far = near exp(anchor): the anchor is b at the
// sub-block's start.
inline void scale_queries(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  const int group = head.group();
  const float scale = head.scale();
  for (int i = 0; i < head.n_states(); ++i) {
    const float* anchor = w.anchor(i);
    float* decay = w.decay();
    std::fill(decay, decay + d_k, 1.0f);
    for (std::int64_t t = 0; t < block.rows; ++t) {
      const float* gate = w.gate(i, t);
      const float* q = head.q(block.first + t);
      for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::LoadU(d, decay + j), hn::LoadU(d, gate + j)), d, decay + j);
      });
      for (int g = 0; g < group; ++g) {
        const std::int64_t row = t * group + g;
        const float factor = scale * head.mix(i, g);
        for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
          const auto scaled = hn::Mul(hn::Set(d, factor), hn::LoadU(d, q + g * d_k + j));
          const auto near = hn::Mul(hn::LoadU(d, decay + j), scaled);
          hn::StoreU(scaled, d, w.scaled(i, row) + j);
          hn::StoreU(near, d, w.near(i, row) + j);
          hn::StoreU(hn::Mul(near, hn::LoadU(d, anchor + j)), d, w.far(i, row) + j);
        });
      }
    }
  }
}

// One token more for the sub-block's keys: column u of `decayed` holds k_u decayed to the token at hand,
// and zero until u has come.
inline void decay_keys(const DslaHead& head, SubBlock block, std::int64_t t, ChunkWorkspace& w) {
  const hn::CappedTag<float, kDslaSubBlock> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t d_k = head.args->shape.d_k;
  const float* k = head.k(block.first + t);
  for (int i = 0; i < head.n_states(); ++i) {
    const float* gate = w.gate(i, t);
    float* decayed = w.decayed(i, 0);
    for (std::int64_t u = 0; u < kDslaSubBlock; u += lanes) {
      const auto joins = hn::Eq(hn::Iota(d, static_cast<float>(u)), hn::Set(d, static_cast<float>(t)));
      for (std::int64_t j = 0; j < d_k; ++j) {
        float* column = decayed + j * kDslaSubBlock + u;
        const auto kept = hn::Mul(hn::Load(d, column), hn::Set(d, gate[j]));
        hn::Store(hn::IfThenElse(joins, hn::Set(d, k[j]), kept), d, column);
      }
    }
  }
}

// Scores of the sub-block against itself, element by element; nothing above the diagonal ever counts.
inline void score_diagonal(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t channels = head.args->shape.channels();
  std::fill_n(w.decayed(0, 0), channels * kDslaSubBlock, 0.0f);
  for (std::int64_t t = 0; t < block.rows; ++t) {
    decay_keys(head, block, t, w);
    const std::int64_t row = t * head.group();
    small_gemm<float>(head.group(), kDslaSubBlock, channels, {w.scaled(0, row), channels, 1},
                      {w.decayed(0, 0), kDslaSubBlock}, {w.scores(row) + block.start, w.chunk()},
                      GemmMode::kOverwrite);
  }
}

// Scores of the sub-block against the chunk's tokens before it.
inline void score_earlier(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  if (block.start == 0) return;
  const std::int64_t channels = head.args->shape.channels();
  small_gemm<float>(block.rows * head.group(), block.start, channels, {w.near(0, 0), channels, 1},
                    {w.keys(0), w.chunk()}, {w.scores(0), w.chunk()}, GemmMode::kOverwrite);
}

// Moves the anchor to the sub-block's end: keys of the chunk decay to it, those of the sub-block join.
inline void advance_keys(const DslaHead& head, SubBlock block, ChunkWorkspace& w) {
  const std::int64_t d_k = head.args->shape.d_k;
  for (int i = 0; i < head.n_states(); ++i) {
    float* decay = w.decay();
    float* row = w.key_row();
    float* keys = w.keys(i * d_k);
    std::fill(decay, decay + d_k, 1.0f);
    for (std::int64_t t = block.rows - 1; t >= 0; --t) {
      const float* k = head.k(block.first + t);
      const float* gate = w.gate(i, t);
      for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
        const auto now = hn::LoadU(d, decay + j);
        hn::StoreU(hn::Mul(hn::LoadU(d, k + j), now), d, row + j);
        hn::StoreU(hn::Mul(now, hn::LoadU(d, gate + j)), d, decay + j);
      });
      for (std::int64_t j = 0; j < d_k; ++j) keys[j * w.chunk() + block.start + t] = row[j];
    }
    for (std::int64_t j = 0; j < d_k; ++j) {
      for_lanes(block.start, [&](auto d, std::int64_t u) HWY_ATTR {
        float* key = keys + j * w.chunk() + u;
        hn::StoreU(hn::Mul(hn::LoadU(d, key), hn::Set(d, decay[j])), d, key);
      });
    }
    for_lanes(d_k, [&](auto d, std::int64_t j) HWY_ATTR {
      hn::StoreU(hn::Exp(d, hn::LoadU(d, w.log_sum(i) + j)), d, w.anchor(i) + j);
    });
  }
}

}  // namespace dslad::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
