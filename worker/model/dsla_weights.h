// The weights that a layer gains when it is converted to dual-state linear attention (arXiv 2506.09316).
//
// Immutable; shared by all sequences whose plan converts the layer.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/gemm/packed_matrix.h"
#include "worker/model/config.h"

namespace dslad::worker {

struct DslaWeights {
  bool distilled = false;        // false: initialised from the teacher, never trained
  kernels::PackedMatrix gates;   // [2 * kv_heads * head_dim, hidden]: G_1 (history), then G_2 (recency)
  std::vector<float> gate_bias;  // c [2, kv_heads, head_dim]
  std::vector<float> mix;        // softmax(alpha) [2, heads]
};

// The paper's initialisation: G_1 the identity (rectangular for grouped queries), G_2 uniform in
// +-1/sqrt(hidden), biases and alpha zero. The projections q, k, v, o are the teacher's own. Deterministic in
// `layer`.
std::shared_ptr<const DslaWeights> undistilled_dsla(const LlamaConfig& config, int layer,
                                                    kernels::DType dtype);

}  // namespace dslad::worker
