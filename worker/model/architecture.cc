#include "worker/model/architecture.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "worker/model/config.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::string_view kFull = "full_attention", kSliding = "sliding_attention";
constexpr std::int64_t kMaxWindow = 1 << 24;
constexpr std::int64_t kUsualWindow = 4096;      // of Mistral's and Qwen's classes
constexpr std::int64_t kUsualWindowLayers = 28;  // Qwen's max_window_layers
constexpr std::int64_t kUsualRopeInterval = 4;   // SmolLM3's no_rope_layer_interval
constexpr std::int64_t kMaxRopeInterval = 1 << 20;

constexpr std::array<Architecture, 5> kArchitectures = {{
    {.name = "LlamaForCausalLM",
     .model_type = "llama",
     .max_position_embeddings = 2048,
     .kv_heads = 0,
     .head_dim = 0,
     .rope_theta = 10000.0,
     .tie_word_embeddings = false,
     .qkv_bias = false,
     .attention_bias = true,
     .mlp_bias = true,
     .qk_norm = false,
     .window = WindowRule::kRefused,
     .layers_without_rope = false},
    {.name = "MistralForCausalLM",
     .model_type = "mistral",
     .max_position_embeddings = 131072,
     .kv_heads = 8,
     .head_dim = 0,
     .rope_theta = 10000.0,
     .tie_word_embeddings = false,
     .qkv_bias = false,
     .attention_bias = false,
     .mlp_bias = false,
     .qk_norm = false,
     .window = WindowRule::kAllLayers,
     .layers_without_rope = false},
    {.name = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .head_dim = 0,
     .rope_theta = 10000.0,
     .tie_word_embeddings = false,
     .qkv_bias = true,
     .attention_bias = false,
     .mlp_bias = false,
     .qk_norm = false,
     .window = WindowRule::kFromLayer,
     .layers_without_rope = false},
    {.name = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .max_position_embeddings = 32768,
     .kv_heads = 32,
     .head_dim = 128,
     .rope_theta = 10000.0,
     .tie_word_embeddings = false,
     .qkv_bias = false,
     .attention_bias = true,
     .mlp_bias = false,
     .qk_norm = true,
     .window = WindowRule::kFromLayer,
     .layers_without_rope = false},
    {.name = "SmolLM3ForCausalLM",
     .model_type = "smollm3",
     .max_position_embeddings = 32768,
     .kv_heads = 4,
     .head_dim = 0,
     .rope_theta = 2000000.0,
     .tie_word_embeddings = true,
     .qkv_bias = false,
     .attention_bias = true,
     .mlp_bias = true,
     .qk_norm = false,
     .window = WindowRule::kLayersNoRope,
     .layers_without_rope = true},
}};

std::string architecture_list() {
  std::vector<std::string_view> names;
  for (const Architecture& known : kArchitectures) names.push_back(known.name);
  return fmt::format("dslad runs {}", fmt::join(names, ", "));
}

// A value that leaves the graph as it is.
bool is_neutral(const json& value, double neutral) {
  if (value.is_boolean()) return !value.get<bool>();
  return value.is_number() && value.get<double>() == neutral;
}

// `layer_types`; none where it is absent.
std::optional<std::vector<std::string>> read_layer_types(JsonFields& fields, int layers) {
  const json* const list = fields.find("layer_types");
  if (list == nullptr) return std::nullopt;
  const auto known = [](const json& type) { return type == kFull || type == kSliding; };
  if (!list->is_array() || !std::ranges::all_of(*list, known) || std::ssize(*list) != layers) {
    fields.refuse("layer_types",
                  fmt::format("must name full_attention or sliding_attention for each of the {} "
                              "layers; others are not implemented",
                              layers));
    return std::nullopt;
  }
  return list->get<std::vector<std::string>>();
}

// Tokens of the window that some layers have; 0: none has one. The class's default counts where the key is
// not there; null takes it away.
std::int64_t read_window(JsonFields& fields, const Architecture& architecture) {
  const WindowRule rule = architecture.window;
  const bool by_switch = rule == WindowRule::kFromLayer || rule == WindowRule::kLayersNoRope;
  const bool used = fields.boolean("use_sliding_window", !by_switch);
  const bool usual = rule == WindowRule::kAllLayers || rule == WindowRule::kFromLayer;
  std::int64_t window = usual ? kUsualWindow : 0;
  if (fields.has("sliding_window")) {
    window = fields.find("sliding_window") == nullptr ? 0 : fields.integer("sliding_window", 1, kMaxWindow);
  }
  if (window == 0) return 0;
  if (rule == WindowRule::kAllLayers && !used) {
    fields.refuse("use_sliding_window",
                  fmt::format("{} does not know this key; set sliding_window to null", architecture.name));
  }
  if (rule == WindowRule::kRefused && used) {
    fields.refuse("sliding_window",
                  fmt::format("{} has none; remove the key, or name the architecture that the "
                              "weights were trained as",
                              architecture.name));
    return 0;
  }
  return used ? window : 0;
}

void read_rope_layers(JsonFields& fields, const Architecture& architecture, LlamaConfig& config) {
  const std::vector<std::int64_t> listed = fields.integers("no_rope_layers", 0, 1);
  const auto layers = static_cast<std::size_t>(config.layers);
  if (!architecture.layers_without_rope) {
    if (std::ranges::count(listed, 0) > 0 ||
        fields.integer("no_rope_layer_interval", 0, kMaxRopeInterval, 0) != 0) {
      fields.refuse(listed.empty() ? "no_rope_layer_interval" : "no_rope_layers",
                    fmt::format("{} has rotary embeddings in every layer", architecture.name));
    }
    return;
  }
  const std::int64_t interval =
      fields.integer("no_rope_layer_interval", 1, kMaxRopeInterval, kUsualRopeInterval);
  if (fields.find("no_rope_layers") != nullptr && listed.size() < layers) {
    fields.refuse("no_rope_layers", fmt::format("must have an entry for each of the {} layers", layers));
    return;
  }
  for (std::size_t layer = 0; layer < layers; ++layer) {
    config.rotary_layers.push_back(listed.empty() ? (static_cast<std::int64_t>(layer) + 1) % interval != 0
                                                  : listed[layer] != 0);
  }
}

// A key that a layer's type contradicts is refused: programs differ in which of the two they believe.
void check_layer_types(JsonFields& fields, const std::optional<std::vector<std::string>>& types,
                       const LlamaConfig& config) {
  for (int layer = 0; types && layer < config.layers; ++layer) {
    const bool sliding = (*types)[static_cast<std::size_t>(layer)] == kSliding;
    if (sliding == (config.window(layer) > 0)) continue;
    fields.refuse("layer_types", fmt::format("layer {} is {} by layer_types, and by the other keys {}", layer,
                                             sliding ? kSliding : kFull, sliding ? kFull : kSliding));
    return;
  }
}

void read_windows(JsonFields& fields, const Architecture& architecture, LlamaConfig& config) {
  const auto types = read_layer_types(fields, config.layers);
  const std::int64_t window = read_window(fields, architecture);
  const std::int64_t first = fields.integer("max_window_layers", 0, 1 << 20, kUsualWindowLayers);
  for (int layer = 0; layer < config.layers; ++layer) {
    bool slides = architecture.window == WindowRule::kAllLayers;
    if (architecture.window == WindowRule::kFromLayer) slides = layer >= first;
    if (architecture.window == WindowRule::kLayersNoRope) slides = !config.rotates(layer);
    if (types && architecture.window != WindowRule::kAllLayers)
      slides = (*types)[static_cast<std::size_t>(layer)] == kSliding;
    config.windows.push_back(slides ? window : 0);
  }
  check_layer_types(fields, types, config);
}

void read_biases(JsonFields& fields, const Architecture& architecture, LlamaConfig& config) {
  const bool attention = fields.boolean("attention_bias", architecture.qkv_bias);
  const bool mlp = fields.boolean("mlp_bias", false);
  if (attention != architecture.qkv_bias && !architecture.attention_bias) {
    fields.refuse("attention_bias",
                  fmt::format("{} has {} in attention, whatever this key says", architecture.name,
                              architecture.qkv_bias ? "biases of q, k and v" : "no biases"));
  }
  if (mlp && !architecture.mlp_bias)
    fields.refuse("mlp_bias", fmt::format("{} has no biases in its MLP", architecture.name));
  config.qkv_bias = attention;
  config.output_bias = attention && architecture.attention_bias;
  config.mlp_bias = mlp;
}

}  // namespace

const Architecture& read_architecture(JsonFields& fields) {
  const json* const names = fields.find("architectures");
  const std::string type = fields.text("model_type", "");
  const auto named = std::ranges::find_if(kArchitectures, [&](const Architecture& known) {
    if (names == nullptr) return known.model_type == type;
    return names->is_array() && std::ranges::find(*names, json(known.name)) != names->end();
  });
  if (named == kArchitectures.end()) {
    fields.refuse("architectures", architecture_list());
    return kArchitectures[0];
  }
  if (!type.empty() && named->model_type != type) {
    fields.refuse("model_type", fmt::format("architectures is {}, whose model_type is {}; {}", named->name,
                                            named->model_type, architecture_list()));
  }
  return *named;
}

std::vector<std::string> read_layers(JsonFields& fields, const Architecture& architecture,
                                     LlamaConfig& config) {
  config.qk_norm = architecture.qk_norm;
  read_biases(fields, architecture, config);
  read_rope_layers(fields, architecture, config);
  read_windows(fields, architecture, config);
  std::vector<std::string> types;
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string_view type = config.window(layer) > 0 ? kSliding : kFull;
    if (std::ranges::find(types, type) == types.end()) types.emplace_back(type);
  }
  return types;
}

void refuse_other_graphs(JsonFields& fields, const Architecture& architecture) {
  for (const char* const key : {"hidden_act", "hidden_activation"}) {
    const std::string activation = fields.text(key, "silu");
    if (activation != "silu" && activation != "swish") fields.refuse(key, "only \"silu\" is implemented");
  }
  if (fields.find("quantization_config") != nullptr)
    fields.refuse("quantization_config", "convert the weights to bf16, f16 or f32 safetensors first");
  struct Key {
    const char* name;
    double neutral = 0;
  };
  static constexpr Key kKeys[] = {
      {"attention_multiplier"},
      {"embedding_multiplier", 1},
      {"residual_multiplier", 1},
      {"lm_head_multiplier", 1},
      {"logits_scaling", 1},
      {"logit_scale", 1},
      {"scale_emb", 1},
      {"scale_depth"},
      {"dim_model_base"},
      {"mup_enabled"},
      {"attn_logit_softcapping"},
      {"final_logit_softcapping"},
      {"query_pre_attn_scalar"},
      {"attn_scale"},
      {"attn_temperature_tuning"},
      {"attention_chunk_size"},
      {"clip_qkv"},
      {"partial_rotary_factor", 1},
      {"rotary_pct", 1},
      {"alibi"},
      {"parallel_attn"},
      {"use_parallel_residual"},
      {"is_encoder_decoder"},
      {"add_cross_attention"},
      {"use_bidirectional_attention"},
      {"num_experts"},
      {"num_local_experts"},
      {"n_routed_experts"},
      {"num_kv_shared_layers"},
      {"use_mrope"},
  };
  for (const auto& [name, neutral] : kKeys) {
    const json* const value = fields.find(name);
    if (value != nullptr && !is_neutral(*value, neutral))
      fields.refuse(name, fmt::format("the {} that dslad runs has no such part", architecture.name));
  }
  if (!fields.boolean("is_causal", true))
    fields.refuse("is_causal", "attention to later tokens is not implemented");
  if (architecture.qk_norm) return;
  for (const char* const key : {"qk_norm", "use_qk_norm", "qk_layernorm"}) {
    const json* const value = fields.find(key);
    if (value != nullptr && !is_neutral(*value, 0))
      fields.refuse(key, fmt::format("{} has no norms of q and k", architecture.name));
  }
}

}  // namespace dslad::worker
