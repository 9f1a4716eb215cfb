#include "worker/model/config.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/files/gguf.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/files/read_file.h"
#include "worker/model/gguf_config.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxConfigBytes = 4 << 20;
constexpr std::int64_t kMaxVocabulary = 1 << 24;

void check_architecture(JsonFields& fields) {
  const json* const architectures = fields.find("architectures");
  if (architectures == nullptr) {
    if (fields.text("model_type", "") != "llama") {
      fields.refuse("architectures", "dslad runs LlamaForCausalLM models only");
    }
    return;
  }
  const bool llama = architectures->is_array() && std::find(architectures->begin(), architectures->end(),
                                                            json("LlamaForCausalLM")) != architectures->end();
  if (!llama) fields.refuse("architectures", "dslad runs LlamaForCausalLM models only");
}

void check_supported(JsonFields& fields) {
  check_architecture(fields);
  if (fields.text("hidden_act", "silu") != "silu")
    fields.refuse("hidden_act", "only \"silu\" is implemented");
  for (const char* const key : {"attention_bias", "mlp_bias"}) {
    if (fields.boolean(key, false)) fields.refuse(key, "projections with a bias are not implemented");
  }
  if (fields.find("quantization_config") != nullptr) {
    fields.refuse("quantization_config", "convert the weights to bf16, f16 or f32 safetensors first");
  }
}

// Refuses everything but plain rotary embeddings under `key`; returns the object's theta.
double plain_rope(JsonFields& fields, const char* key, double theta, std::string_view name) {
  const json* const rope = fields.find(key);
  if (rope == nullptr) return theta;
  JsonFields inner(*rope, fmt::format("{}: {}", name, key));
  const std::string type = inner.text("rope_type", inner.text("type", "default"));
  theta = inner.number("rope_theta", 1.0, 1e15, theta);
  if (type != "default" || !inner.status().ok()) {
    fields.refuse(key, "only unscaled rotary embeddings (null or rope_type \"default\") are implemented");
  }
  return theta;
}

void read_rope(JsonFields& fields, std::string_view name, LlamaConfig& config) {
  config.rope_theta = fields.number("rope_theta", 1.0, 1e15, 10000.0);
  config.rope_theta = plain_rope(fields, "rope_scaling", config.rope_theta, name);
  config.rope_theta = plain_rope(fields, "rope_parameters", config.rope_theta, name);  // transformers 5
  if (fields.number("partial_rotary_factor", 0.0, 1.0, 1.0) != 1.0) {
    fields.refuse("partial_rotary_factor", "only rotary embeddings over the whole head are implemented");
  }
}

void read_heads(JsonFields& fields, LlamaConfig& config) {
  config.heads = static_cast<int>(fields.integer("num_attention_heads", 1, 1024));
  config.kv_heads = static_cast<int>(fields.integer("num_key_value_heads", 1, 1024, config.heads));
  if (config.heads % config.kv_heads != 0) {
    fields.refuse("num_key_value_heads", fmt::format("must divide num_attention_heads ({})", config.heads));
  }
  if (fields.find("head_dim") == nullptr && config.hidden_size % config.heads != 0) {
    fields.refuse(
        "hidden_size",
        fmt::format("must be a multiple of num_attention_heads ({}) when head_dim is absent", config.heads));
  }
  config.head_dim = static_cast<int>(
      fields.integer("head_dim", 1, 1 << 20, std::max<std::int64_t>(1, config.hidden_size / config.heads)));
  if (config.head_dim % 2 != 0 || config.head_dim < 8 || config.head_dim > 256) {
    fields.refuse("head_dim",
                  fmt::format("the head size {} must be even and from 8 to 256", config.head_dim));
  }
}

void read_shape(JsonFields& fields, LlamaConfig& config) {
  config.hidden_size = fields.integer("hidden_size", 1, 1 << 20);
  config.intermediate_size = fields.integer("intermediate_size", 1, 1 << 22);
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabulary);
  config.context = fields.integer("max_position_embeddings", 1, 1 << 24, 2048);
  config.layers = static_cast<int>(fields.integer("num_hidden_layers", 1, 1024));
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
  read_heads(fields, config);
}

// Adds one id or a list of them.
void read_eos(JsonFields& fields, LlamaConfig& config) {
  const json* const value = fields.find("eos_token_id");
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    const bool known = id.is_number_integer() && id >= 0 && id < config.vocab_size;
    if (!known) {
      fields.refuse("eos_token_id",
                    fmt::format("must be token ids below vocab_size ({})", config.vocab_size));
      return;
    }
    const auto eos = id.get<std::int32_t>();
    if (std::ranges::find(config.eos_token_ids, eos) == config.eos_token_ids.end()) {
      config.eos_token_ids.push_back(eos);
    }
  }
}

void read_special_tokens(JsonFields& fields, LlamaConfig& config) {
  if (fields.find("bos_token_id") != nullptr) {
    config.bos_token_id = static_cast<std::int32_t>(fields.integer("bos_token_id", 0, config.vocab_size - 1));
  }
  read_eos(fields, config);
}

Status read_config(const json& document, std::string_view name, LlamaConfig& config) {
  JsonFields fields(document, name);
  check_supported(fields);
  read_shape(fields, config);
  read_rope(fields, name, config);
  read_special_tokens(fields, config);
  return fields.status();
}

Status read_generation_config(std::string_view text, std::string_view name, LlamaConfig& config) {
  const auto document = parse_json(text, name);
  if (!document) return document.error();
  JsonFields fields(*document, name);
  read_eos(fields, config);
  return fields.status();
}

Result<LlamaConfig> load_gguf(const std::filesystem::path& path) {
  const auto file = GgufFile::open(path);
  if (!file) return file.error();
  const auto document = gguf_config(*file, path.string());
  if (!document) return document.error();
  LlamaConfig config;
  const Status read =
      read_config(*document, fmt::format("{}, in config.json's words", path.string()), config);
  if (!read) return read.error();
  return config;
}

}  // namespace

Result<LlamaConfig> LlamaConfig::parse(std::string_view config_text, std::string_view generation_text,
                                       std::string_view dir) {
  LlamaConfig config;
  const std::string name = fmt::format("{}/config.json", dir);
  const auto document = parse_json(config_text, name);
  if (!document) return document.error();
  const Status read = read_config(*document, name, config);
  if (!read) return read.error();
  if (generation_text.empty()) return config;
  const Status merged =
      read_generation_config(generation_text, fmt::format("{}/generation_config.json", dir), config);
  if (!merged) return merged.error();
  return config;
}

Result<LlamaConfig> LlamaConfig::load(const std::filesystem::path& dir) {
  if (is_gguf(dir)) return load_gguf(dir);
  const auto config = read_file(dir / "config.json", kMaxConfigBytes);
  if (!config) return config.error().with_context("a model folder needs config.json");
  const auto generation = read_file(dir / "generation_config.json", kMaxConfigBytes);
  if (!generation && generation.error().code != ErrorCode::kNotFound) return generation.error();
  return parse(*config, generation ? *generation : std::string{}, dir.string());
}

std::vector<double> LlamaConfig::inverse_frequencies() const {
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < frequencies.size(); ++j) {
    frequencies[j] = std::pow(rope_theta, -2.0 * static_cast<double>(j) / head_dim);
  }
  return frequencies;
}

}  // namespace dslad::worker
