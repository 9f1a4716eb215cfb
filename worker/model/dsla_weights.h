// What the engine computes a converted layer with (arXiv 2506.09316 and the options of dsla_variant.h).
//
// Immutable; shared by all sequences whose plan converts the layer.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/gemm/packed_matrix.h"
#include "worker/model/config.h"
#include "worker/model/dsla_variant.h"

namespace dslad::worker {

struct DslaLayerTensors;

struct DslaWeights {
  bool distilled = false;  // false: initialised from the teacher, never trained
  DslaVariant variant;
  kernels::PackedMatrix qkv;       // as LayerWeights::qkv; empty while the layer shares the teacher's
  kernels::PackedMatrix output;    // as LayerWeights::output; empty with qkv
  kernels::PackedMatrix gates;     // [2 * kv_heads * d_k, hidden]: G_1 (history), then G_2 (recency)
  std::vector<float> gate_bias;    // c [2, kv_heads, d_k]; d_k is the variant's state_width(head_dim)
  std::vector<float> mix;          // softmax(alpha) [2, heads]
  std::vector<float> output_norm;  // [head_dim]; empty unless the variant has it
  std::vector<float> share;        // [heads]; empty unless the variant has a window
  // With projections of its own, what the model's have beyond matrices; else empty.
  std::vector<float> qkv_bias;        // as LayerWeights::qkv_bias, for the rows of qkv
  std::vector<float> output_bias;     // [hidden]
  std::vector<float> q_norm, k_norm;  // [head_dim], of every head_dim channels of q and k

  [[nodiscard]] bool own_projections() const { return qkv.data() != nullptr; }
  [[nodiscard]] std::size_t bytes() const { return qkv.bytes() + output.bytes() + gates.bytes(); }
};

// The paper's layer as training starts it (initial_dsla_layer), sharing the teacher's projections.
// Deterministic in `layer`. Null: no memory.
std::shared_ptr<const DslaWeights> undistilled_dsla(const LlamaConfig& config, int layer,
                                                    kernels::WeightFormat format);

// A layer that was trained. REQUIRES: the tensors fit config and variant, as load_dsla_layer gives them.
// Null: no memory.
std::shared_ptr<const DslaWeights> distilled_dsla(const LlamaConfig& config, const DslaVariant& variant,
                                                  const DslaLayerTensors& tensors,
                                                  kernels::WeightFormat format);

}  // namespace dslad::worker
