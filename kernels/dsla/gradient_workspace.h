// Where the gradient of the chunk form keeps its intermediate matrices, beside the forward pass's
// (chunk_workspace.h). Internal to kernels/dsla.
//
// c = kDslaSubBlock, C = kDslaChunk, G query heads a group, W: the channels of all states side by
// side. Rows of queries count (token, query head of the group).
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/workspace.h"
#include "kernels/dsla/chunk_workspace.h"

namespace dslad::kernels {

class GradientWorkspace {
 public:
  static std::int64_t floats(const DslaShape& shape) { return GradientWorkspace(shape, nullptr).size_; }

  GradientWorkspace(const DslaShape& shape, float* memory)
      : forward(shape, kDslaChunk, memory), size_(ChunkWorkspace::floats(shape, kDslaChunk)) {
    const std::int64_t channels = shape.channels();
    const std::int64_t group = shape.n_heads / shape.n_kv;
    const std::int64_t queries = kDslaSubBlock * group;
    for (auto [part, count] : {std::pair{&d_out, queries * shape.d_v},
                               {&d_scores, queries * kDslaChunk},
                               {&d_queries, queries * channels},
                               {&growth, channels},
                               {&pair_decays, kDslaSubBlock * channels},
                               {&values_t, shape.d_v * kDslaChunk},
                               {&d_values_t, shape.d_v * kDslaChunk},
                               {&decays, kDslaChunk * channels},
                               {&keys, kDslaChunk * channels},
                               {&products, kDslaChunk * channels},
                               {&d_keys, kDslaChunk * channels},
                               {&query_parts, kDslaChunk * channels},
                               {&d_state_next, shape.d_v * channels},
                               {&d_log_gate, channels},
                               {&bias_sums, channels},
                               {&mix_sums, group * channels}}) {
      *part = at_float(memory, size_);
      size_ += (count + kAlignment - 1) / kAlignment * kAlignment;
    }
  }

  ChunkWorkspace forward;

  // Of the sub-block at hand.
  float* d_out = nullptr;        // [c * G][d_v] packed
  float* d_scores = nullptr;     // [c * G][C], of the chunk's tokens up to the sub-block's end
  float* d_queries = nullptr;    // [c * G][W] dq_i / (s mix_i)
  float* growth = nullptr;       // [W] exp(b_t - anchor), a running product
  float* pair_decays = nullptr;  // [c][W] exp(b_t - b_u) of the sub-block's tokens u, t the token at hand

  // Of the chunk.
  float* values_t = nullptr;      // [d_v][C]
  float* d_values_t = nullptr;    // [d_v][C]
  float* decays = nullptr;        // [C][W] exp(anchor - b_u)
  float* keys = nullptr;          // [C][W] keys times decays of one kind or another
  float* products = nullptr;      // [C][W] at hand
  float* d_keys = nullptr;        // [C][W] dk_i
  float* query_parts = nullptr;   // [C][W] sum over the group of q * dq_i
  float* d_state_next = nullptr;  // [d_v][W] the chunk's own part of the gradient by the state before it
  float* d_log_gate = nullptr;    // [W] the running sum g
  float* bias_sums = nullptr;     // [W] sum of dz
  float* mix_sums = nullptr;      // [G][W] sum of q * dq_i / (s mix_i)

 private:
  static constexpr std::int64_t kAlignment = 16;  // floats: one cache line
  std::int64_t size_;
};

}  // namespace dslad::kernels
