// Where the chunk form keeps its intermediate matrices, and its gradient. Internal to kernels/delta.
//
// C = kDeltaChunk tokens a chunk, G query heads a group. Rows count the chunk's keys first, then its queries
// (token, query head of the group): what the state and the keys are multiplied by lies in one matrix.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/workspace.h"
#include "kernels/delta/delta_rule.h"

namespace dslad::kernels {

// Scores grow with it, and reads and writes of the state shrink: with 3 query heads, d_k 256 and d_v 64 both
// come out alike.
inline constexpr std::int64_t kDeltaChunk = 32;

class DeltaWorkspace {
 public:
  DeltaWorkspace(const DslaShape& shape, float* memory) {
    const std::int64_t rows = kDeltaChunk * (1 + shape.n_heads / shape.n_kv);
    for (auto [part, count] : {std::pair{&sums, kDeltaChunk},
                               {&gates, kDeltaChunk},
                               {&betas, kDeltaChunk},
                               {&ends, kDeltaChunk},
                               {&units, rows * shape.d_k},
                               {&keys_t, kDeltaChunk * shape.d_k},
                               {&found, rows * shape.d_v},
                               {&scores, rows * kDeltaChunk},
                               {&added, kDeltaChunk * shape.d_v},
                               {&faded_t, kDeltaChunk * shape.d_k}}) {
      *part = at_float(memory, size);
      size += (count + kAlignment - 1) / kAlignment * kAlignment;
    }
  }

  static constexpr std::int64_t kAlignment = 16;  // floats: one cache line

  float* sums = nullptr;     // [C] b_t: sum of log a over the chunk up to t
  float* gates = nullptr;    // [C] exp(b_t)
  float* betas = nullptr;    // [C]
  float* ends = nullptr;     // [C] exp(b at the end - b_t)
  float* units = nullptr;    // [C + C G][d_k] keys and queries of length 1
  float* keys_t = nullptr;   // [d_k][C] the keys
  float* found = nullptr;    // [C + C G][d_v] units S; the queries' become the outputs
  float* scores = nullptr;   // [C + C G][C] of keys: -beta_t exp(b_t - b_u) k_t.k_u, u < t; of queries u <= t
  float* added = nullptr;    // [C][d_v] u_t: what token t adds to the state
  float* faded_t = nullptr;  // [d_k][C] the keys decayed to the chunk's end
  std::int64_t size = 0;
};

class DeltaGradientWorkspace {
 public:
  DeltaGradientWorkspace(const DslaShape& shape, float* memory) : forward(shape, memory), size(forward.size) {
    const std::int64_t rows = kDeltaChunk * (1 + shape.n_heads / shape.n_kv);
    const std::int64_t state = std::int64_t{shape.d_k} * shape.d_v;
    for (auto [part, count] : {std::pair{&products, rows * kDeltaChunk},
                               {&d_rows, rows * shape.d_v},
                               {&d_reads, rows * shape.d_v},
                               {&added_t, kDeltaChunk * shape.d_v},
                               {&faded, kDeltaChunk * shape.d_v},
                               {&d_scores, rows * kDeltaChunk},
                               {&d_units, rows * shape.d_k},
                               {&state_t, state},
                               {&d_sums, kDeltaChunk},
                               {&d_betas, kDeltaChunk}}) {
      *part = at_float(memory, size);
      size +=
          (count + DeltaWorkspace::kAlignment - 1) / DeltaWorkspace::kAlignment * DeltaWorkspace::kAlignment;
    }
  }

  DeltaWorkspace forward;
  float* products = nullptr;  // [C + C G][C] units . keys
  float* d_rows = nullptr;    // [C + C G][d_v] dR of the keys' rows (by beta_t (v_t - exp(b_t) k_t S)); dO
  float* d_reads = nullptr;   // [C + C G][d_v] by units S
  float* added_t = nullptr;   // [d_v][C]
  float* faded = nullptr;     // [C][d_v] at hand
  float* d_scores = nullptr;  // [C + C G][C]
  float* d_units = nullptr;   // [C + C G][d_k]
  float* state_t = nullptr;   // [d_v][d_k] of the state, then of its gradient
  float* d_sums = nullptr;    // [C] db_t
  float* d_betas = nullptr;   // [C]
  std::int64_t size;
};

}  // namespace dslad::kernels
