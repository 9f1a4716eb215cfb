#include "worker/model/config.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/files/gguf.h"
#include "worker/files/json_fields.h"
#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/files/read_file.h"
#include "worker/model/architecture.h"
#include "worker/model/gguf_config.h"
#include "worker/model/gguf_tensors.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxConfigBytes = 4 << 20;
constexpr std::int64_t kMaxVocabulary = 1 << 24;

// The class's default counts where the key is not there; null means as many as heads.
int read_kv_heads(JsonFields& fields, const Architecture& architecture, int heads) {
  const bool by_class = architecture.kv_heads > 0 && !fields.has("num_key_value_heads");
  return static_cast<int>(
      fields.integer("num_key_value_heads", 1, 1024, by_class ? architecture.kv_heads : heads));
}

void read_heads(JsonFields& fields, const Architecture& architecture, LlamaConfig& config) {
  config.heads = static_cast<int>(fields.integer("num_attention_heads", 1, 1024));
  config.kv_heads = read_kv_heads(fields, architecture, config.heads);
  if (config.heads % config.kv_heads != 0) {
    fields.refuse("num_key_value_heads", fmt::format("must divide num_attention_heads ({})", config.heads));
  }
  const bool derived = fields.find("head_dim") == nullptr && architecture.head_dim == 0;
  if (derived && config.hidden_size % config.heads != 0) {
    fields.refuse(
        "hidden_size",
        fmt::format("must be a multiple of num_attention_heads ({}) when head_dim is absent", config.heads));
  }
  const std::int64_t usual = derived ? config.hidden_size / config.heads : architecture.head_dim;
  config.head_dim =
      static_cast<int>(fields.integer("head_dim", 1, 1 << 20, std::max<std::int64_t>(1, usual)));
  if (config.head_dim % 2 != 0 || config.head_dim < 8 || config.head_dim > 256) {
    fields.refuse("head_dim",
                  fmt::format("the head size {} must be even and from 8 to 256", config.head_dim));
  }
}

void read_shape(JsonFields& fields, const Architecture& architecture, LlamaConfig& config) {
  config.hidden_size = fields.integer("hidden_size", 1, 1 << 20);
  config.intermediate_size = fields.integer("intermediate_size", 1, 1 << 22);
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabulary);
  config.context =
      fields.integer("max_position_embeddings", 1, 1 << 24, architecture.max_position_embeddings);
  config.layers = static_cast<int>(fields.integer("num_hidden_layers", 1, 1024));
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0, 1e-6);
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", architecture.tie_word_embeddings);
  read_heads(fields, architecture, config);
}

// Windows that hide nothing are none.
void forget_wide_windows(LlamaConfig& config) {
  for (std::int64_t& window : config.windows)
    if (window >= config.context) window = 0;
  if (std::ranges::count(config.windows, 0) == std::ssize(config.windows)) config.windows.clear();
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
  const Architecture& architecture = read_architecture(fields);
  config.architecture = architecture.name;
  refuse_other_graphs(fields, architecture);
  read_shape(fields, architecture, config);
  const std::vector<std::string> layer_types = read_layers(fields, architecture, config);
  config.rope = read_rope(fields, {architecture.rope_theta, config.context, layer_types});
  config.context = config.rope.context(config.context);
  forget_wide_windows(config);
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

// Llama 3's scaling of rotary embeddings is a tensor there: a divisor of each frequency.
Status read_rope_factors(const GgufFile& file, const std::filesystem::path& path, LlamaConfig& config) {
  const auto tensors = gguf_tensors(file, file, path.string());
  if (!tensors) return tensors.error();
  const auto found = std::ranges::find(*tensors, "rope_freqs.weight", &TensorView::name);
  if (found == tensors->end()) return ok_status();
  std::vector<float> factors(static_cast<std::size_t>(config.head_dim / 2));
  const bool fits = found->elements() == std::ssize(factors);
  const Status read = fits ? read_weights(*found, 0, 1, factors.data()) : ok_status();
  if (!read) return read.error().with_context(path.string());
  const bool positive = std::ranges::all_of(factors, [](float factor) { return factor > 0; });
  if (!fits || !positive) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: rope_freqs.weight is not a factor above 0 for each of {} frequencies",
                             path.string(), factors.size())};
  }
  config.rope.divisors.assign(factors.begin(), factors.end());
  return ok_status();
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
  const Status factors = read_rope_factors(*file, path, config);
  if (!factors) return factors.error();
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

std::vector<std::string_view> LlamaConfig::optional_parts() const {
  std::vector<std::string_view> parts;
  if (qkv_bias || output_bias || mlp_bias) parts.emplace_back("biases");
  if (qk_norm) parts.emplace_back("norms of q and k");
  if (!windows.empty()) parts.emplace_back("sliding windows");
  if (std::ranges::count(rotary_layers, false) > 0) parts.emplace_back("layers without rotary embedding");
  return parts;
}

}  // namespace dslad::worker
