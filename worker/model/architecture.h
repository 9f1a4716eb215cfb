// The architectures that are Llama's graph: what their classes in transformers fix, and what each reads from
// config.json. Internal to worker/model.
//
// What would make another graph of a model is refused by the key's name: dslad computes what transformers
// computes, or nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "worker/files/json_fields.h"

namespace dslad::worker {

struct LlamaConfig;

// Which layers a sliding window is for, once config.json has one.
enum class WindowRule : std::uint8_t {
  kRefused,       // the architecture has none
  kAllLayers,     // unless `sliding_window` is null
  kFromLayer,     // with `use_sliding_window`: those of `layer_types`, else from `max_window_layers` on
  kLayersNoRope,  // with `use_sliding_window`: those of `layer_types`, else those without rotary embedding
};

struct Architecture {
  std::string_view name;        // in `architectures`
  std::string_view model_type;  // of config.json
  // Where config.json says nothing:
  std::int64_t max_position_embeddings;
  int kv_heads;  // 0: as many as heads
  int head_dim;  // 0: hidden_size / heads
  double rope_theta;
  bool tie_word_embeddings;
  // What its layers have:
  bool qkv_bias;        // always
  bool attention_bias;  // of q, k, v and o, if the key says so
  bool mlp_bias;        // if the key says so
  bool qk_norm;
  WindowRule window;
  bool layers_without_rope;
};

// The one that config.json names; when it is refused, Llama's, so that reading may go on.
const Architecture& read_architecture(JsonFields& fields);

// Sets the fields of `config` that say which optional parts a layer has: biases, norms, windows, rotary.
// REQUIRES: config.layers is set. Returns the types of layer that the model has, each once.
std::vector<std::string> read_layers(JsonFields& fields, const Architecture& architecture,
                                     LlamaConfig& config);

// Refuses keys of other graphs: experts, soft caps, multipliers, another activation, ...
void refuse_other_graphs(JsonFields& fields, const Architecture& architecture);

}  // namespace dslad::worker
