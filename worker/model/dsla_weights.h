// What the engine computes a converted layer with (arXiv 2506.09316 and the options of dsla_variant.h).
//
// Immutable; shared by all sequences whose plan converts the layer.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/device.h"
#include "worker/model/config.h"
#include "worker/model/dsla_variant.h"
#include "worker/model/weights.h"

namespace dslad::worker {

struct DslaLayerTensors;

struct DslaWeights {
  bool distilled = false;  // false: initialised from the teacher, never trained
  DslaVariant variant;
  Matrix qkv;     // as LayerWeights::qkv; null while the layer shares the teacher's
  Matrix output;  // as LayerWeights::output; null with qkv
  Matrix gates;   // [gate_kinds * gates_of_kind, hidden]: G_1 (history), then G_2 (recency), or the betas'
  kernels::Vector gate_bias;    // c of the same rows
  kernels::Vector mix;          // softmax(alpha) [states, heads]
  kernels::Vector output_norm;  // [head_dim]; empty unless the variant has it
  kernels::Vector share;        // [heads]; empty unless the variant has a window
  // With projections of its own, what the model's have beyond matrices; else empty.
  kernels::Vector qkv_bias;        // as LayerWeights::qkv_bias, for the rows of qkv
  kernels::Vector output_bias;     // [hidden]
  kernels::Vector q_norm, k_norm;  // [head_dim], of every head_dim channels of q and k

  [[nodiscard]] bool own_projections() const { return qkv != nullptr; }
  [[nodiscard]] std::size_t bytes() const {
    return gates->bytes() + (own_projections() ? qkv->bytes() + output->bytes() : 0);
  }
};

// The paper's layer as training starts it (initial_dsla_layer), sharing the teacher's projections.
// Deterministic in `layer`. Null: the device has no memory.
std::shared_ptr<const DslaWeights> undistilled_dsla(kernels::Device& device, const LlamaConfig& config,
                                                    int layer, kernels::WeightFormat format);

// A layer that was trained. REQUIRES: the tensors fit config and variant, as load_dsla_layer gives them.
// Null: the device has no memory.
std::shared_ptr<const DslaWeights> distilled_dsla(kernels::Device& device, const LlamaConfig& config,
                                                  const DslaVariant& variant, const DslaLayerTensors& tensors,
                                                  kernels::WeightFormat format);

}  // namespace dslad::worker
