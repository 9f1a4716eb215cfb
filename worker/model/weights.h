// A Llama's weights in a device's memory, packed for its kernels.
//
// Thread safety: immutable once loaded; converted layers are separate objects (dsla_weights.h) that share a
// layer's projections, so both forms of a layer stay reachable while sequences of different plans run.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernels/device.h"
#include "worker/model/config.h"
#include "worker/model/weight_files.h"

namespace dslad::worker {

using Matrix = std::unique_ptr<kernels::WeightMatrix>;

struct LayerWeights {
  kernels::Vector attention_norm;  // [hidden]
  Matrix qkv;                      // [(heads + 2 * kv_heads) * head_dim, hidden]: q, then k, then v
  Matrix output;                   // [hidden, heads * head_dim]
  kernels::Vector mlp_norm;        // [hidden]
  Matrix gate_up;                  // [2 * intermediate, hidden]: gate, then up
  Matrix down;                     // [hidden, intermediate]
  // Empty where the model's layers have none (config.h).
  kernels::Vector qkv_bias;        // [(heads + 2 * kv_heads) * head_dim]
  kernels::Vector output_bias;     // [hidden]
  kernels::Vector gate_up_bias;    // [2 * intermediate]
  kernels::Vector down_bias;       // [hidden]
  kernels::Vector q_norm, k_norm;  // [head_dim]
};

struct ModelWeights {
  std::shared_ptr<kernels::Device> device;  // that holds them; whoever adds layers to them asks it
  LlamaConfig config;
  kernels::WeightFormat format = kernels::WeightFormat::kBf16;  // of the layers' matrices
  std::string digest;  // hex; of every tensor's name, type, shape and bytes
  Matrix embedding;    // [vocab, hidden]; also the output projection when tied
  Matrix lm_head;      // [vocab, hidden]; null when tied
  std::vector<LayerWeights> layers;
  kernels::Vector final_norm;  // [hidden]

  [[nodiscard]] const kernels::WeightMatrix& output_projection() const {
    return config.tie_word_embeddings ? *embedding : *lm_head;
  }
  [[nodiscard]] kernels::DType kv_dtype() const { return kernels::compute_type(format); }
  [[nodiscard]] std::size_t bytes() const;  // of all packed matrices
};

// Called while weights load, with the share done in [0, 1].
using LoadProgress = std::function<void(double)>;

// Reads `model`, a Hugging Face folder (config.json and safetensors) or a GGUF file; the matrices are held in
// `format`, or in more than that where it matters (weight_roles.h). Errors name the file and
// the tensor; a weight that is not a finite number is one (kCorrupt), since nothing that follows from it
// would be; so is a device without the memory (kResourceExhausted). REQUIRES: the device holds the format.
Result<std::shared_ptr<const ModelWeights>> load_weights(
    const std::filesystem::path& model, kernels::WeightFormat format, const LoadProgress& progress = {},
    std::shared_ptr<kernels::Device> device = kernels::cpu_device());

// What load_weights would say of names, shapes and types, without reading a weight. A tensor of a layer that
// `config` has no place for is an error too.
// REQUIRES: config ties its embeddings as the files do (WeightFiles::ties).
Status check_weights(const LlamaConfig& config, const WeightFiles& files);

// Weights of the given shape filled with seeded noise scaled as trained weights are: for benchmarks, which
// need a model's speed and not its words.
std::shared_ptr<const ModelWeights> random_weights(
    const LlamaConfig& config, kernels::WeightFormat format, std::uint64_t seed,
    std::shared_ptr<kernels::Device> device = kernels::cpu_device());

}  // namespace dslad::worker
