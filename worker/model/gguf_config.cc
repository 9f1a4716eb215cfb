#include "worker/model/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace dslad::worker {
namespace {

using nlohmann::json;

struct Family {
  std::string_view gguf, hugging_face;
};
constexpr std::array<Family, 5> kFamilies = {{{"llama", "LlamaForCausalLM"},
                                              {"mistral", "MistralForCausalLM"},
                                              {"qwen2", "Qwen2ForCausalLM"},
                                              {"qwen3", "Qwen3ForCausalLM"},
                                              {"smollm3", "SmolLM3ForCausalLM"}}};

struct Key {
  std::string_view gguf;  // behind "ARCHITECTURE."
  const char* config;
};
constexpr std::array<Key, 8> kIntegers = {{{"block_count", "num_hidden_layers"},
                                           {"context_length", "max_position_embeddings"},
                                           {"embedding_length", "hidden_size"},
                                           {"feed_forward_length", "intermediate_size"},
                                           {"attention.head_count", "num_attention_heads"},
                                           {"attention.head_count_kv", "num_key_value_heads"},
                                           {"attention.key_length", "head_dim"},
                                           {"attention.sliding_window", "sliding_window"}}};
constexpr std::array<Key, 2> kNumbers = {
    {{"attention.layer_norm_rms_epsilon", "rms_norm_eps"}, {"rope.freq_base", "rope_theta"}}};

// What else is read, or says nothing of the graph.
constexpr std::array<std::string_view, 14> kOtherKeys = {"attention.value_length",
                                                         "rope.dimension_count",
                                                         "rope.scale_linear",
                                                         "rope.scaling.type",
                                                         "rope.scaling.factor",
                                                         "rope.scaling.original_context_length",
                                                         "rope.scaling.attn_factor",
                                                         "rope.scaling.finetuned",
                                                         "rope.scaling.yarn_beta_fast",
                                                         "rope.scaling.yarn_beta_slow",
                                                         "rope.scaling.yarn_ext_factor",
                                                         "vocab_size",
                                                         "tensor_data_layout",
                                                         "expert_count"};

// Factors and parts of the graph that these families do not have; a file that names one is something else,
// whatever it says.
constexpr std::array<std::string_view, 6> kForeign = {"attn_logit_softcapping", "final_logit_softcapping",
                                                      "attention.scale",        "embedding_scale",
                                                      "residual_scale",         "logit_scale"};

// Values that change nothing and are neither 0 nor false.
struct Neutral {
  std::string_view key;
  double value;
};
constexpr std::array<Neutral, 2> kNeutral = {{{"attention.causal", 1}, {"rope.scaling.yarn_attn_factor", 1}}};

// Those that llama.cpp takes no default for.
constexpr std::array<std::string_view, 2> kRequired = {"context_length", "attention.layer_norm_rms_epsilon"};

// The ends of sequence, by what they end: text, turn, message.
constexpr std::array<std::string_view, 3> kEnds = {
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};

class ConfigWriter {
 public:
  ConfigWriter(const GgufFile& file, std::string_view name)
      : file_(file), name_(name), prefix_(fmt::format("{}.", gguf_architecture(file))) {}

  Result<json> write() {
    Status status = family();
    for (const Key& key : kIntegers) {
      if (status) status = scalar(key, [](const GgufValue& value) { return value.integer(); });
    }
    for (const Key& key : kNumbers) {
      if (status) status = scalar(key, [](const GgufValue& value) { return value.number(); });
    }
    if (status) status = absent();
    if (status) status = rope();
    if (status) status = tokens();
    if (!status) return status.error();
    tensors();
    return std::move(out_);
  }

 private:
  [[nodiscard]] Error refuse(std::string_view what) const {
    return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", name_, what)};
  }
  [[nodiscard]] const GgufValue* find(std::string_view key) const {
    return file_.find(fmt::format("{}{}", prefix_, key));
  }

  Status family() {
    const std::string_view architecture = gguf_architecture(file_);
    const auto known = std::ranges::find(kFamilies, architecture, &Family::gguf);
    if (known == kFamilies.end()) {
      return refuse(
          fmt::format("general.architecture is \"{}\"; dslad runs llama, mistral, qwen2, qwen3 and smollm3",
                      architecture));
    }
    // A Mistral is a "llama" there; what it has beyond one is its window.
    const bool mistral = architecture == "llama" && find("attention.sliding_window") != nullptr;
    out_["architectures"] = {mistral ? "MistralForCausalLM" : known->hugging_face};
    if (gguf_integer(file_, "expert_count").value_or(0) > 0) {
      return refuse(fmt::format("{}expert_count: mixtures of experts are not implemented", prefix_));
    }
    for (const std::string_view key : kForeign) {
      if (find(key) != nullptr) return refuse(fmt::format("{}{} is not implemented", prefix_, key));
    }
    return other_keys();
  }

  // Keys that nobody reads must not matter. The first by name is named.
  Status other_keys() {
    std::string_view first;
    for (const auto& [name, value] : file_.metadata()) {
      if (!name.starts_with(prefix_)) continue;
      const std::string_view key = name.substr(prefix_.size());
      if (!is_read(key) && !is_neutral(key, value) && (first.empty() || key < first)) first = key;
    }
    if (first.empty()) return ok_status();
    return refuse(
        fmt::format("{}{} has a value that makes another graph, which is not implemented", prefix_, first));
  }

  static bool is_read(std::string_view key) {
    return std::ranges::find(kIntegers, key, &Key::gguf) != kIntegers.end() ||
           std::ranges::find(kNumbers, key, &Key::gguf) != kNumbers.end() ||
           std::ranges::find(kOtherKeys, key) != kOtherKeys.end();
  }

  static bool is_neutral(std::string_view key, const GgufValue& value) {
    const auto* const known = std::ranges::find(kNeutral, key, &Neutral::key);
    const double neutral = known == kNeutral.end() ? 0.0 : known->value;
    if (const auto flag = value.boolean()) return *flag == (neutral != 0.0);
    return value.number() == neutral;
  }

  // What llama.cpp takes where the file says nothing; without some it loads no model.
  Status absent() {
    for (const std::string_view key : kRequired) {
      if (find(key) != nullptr) continue;
      return Error{ErrorCode::kCorrupt, fmt::format("{}: {}{} is missing", name_, prefix_, key)};
    }
    const std::int64_t heads = gguf_integer(file_, "attention.head_count").value_or(0);
    const std::int64_t hidden = gguf_integer(file_, "embedding_length").value_or(0);
    if (heads > 0 && !out_.contains("num_key_value_heads")) out_["num_key_value_heads"] = heads;
    if (heads > 0 && !out_.contains("head_dim") && hidden % heads == 0) out_["head_dim"] = hidden / heads;
    if (!out_.contains("rope_theta")) out_["rope_theta"] = 10000.0;
    if (!out_.contains("sliding_window") && out_["architectures"][0] == "MistralForCausalLM") {
      out_["sliding_window"] = nullptr;
    }
    return ok_status();
  }

  template <typename Read>
  Status scalar(const Key& key, const Read& read) {
    const GgufValue* const value = find(key.gguf);
    if (value == nullptr) return ok_status();
    const auto held = read(*value);
    if (!held) {
      return Error{ErrorCode::kCorrupt,
                   fmt::format("{}: {}{} is not one number for all layers", name_, prefix_, key.gguf)};
    }
    out_[key.config] = *held;
    return ok_status();
  }

  Status rope() {
    const auto head = gguf_integer(file_, "attention.key_length");
    const auto value_head = gguf_integer(file_, "attention.value_length");
    if (head && value_head && *head != *value_head) {
      return refuse(
          fmt::format("{}attention.value_length differs from key_length, which is not implemented", prefix_));
    }
    if (const auto turned = gguf_integer(file_, "rope.dimension_count")) {
      const auto heads = gguf_integer(file_, "attention.head_count").value_or(0);
      const auto hidden = gguf_integer(file_, "embedding_length").value_or(0);
      const std::int64_t size = head.value_or(heads > 0 ? hidden / heads : 0);
      if (*turned != size) {
        return refuse(
            fmt::format("{}rope.dimension_count {} is not the head size {}, which is not implemented",
                        prefix_, *turned, size));
      }
    }
    return scaling();
  }

  // A number under a key of the architecture; `absent` where there is none.
  [[nodiscard]] Result<double> number(std::string_view key, double absent) const {
    const GgufValue* const value = find(key);
    if (value == nullptr) return absent;
    const auto held = value->number();
    if (held && std::isfinite(*held)) return *held;
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {}{} is no number", name_, prefix_, key)};
  }

  // As llama.cpp reads it: without a type a factor is a linear one, of 0 none at all, and it has an older
  // name.
  Status scaling() {
    std::string_view type = "linear";
    if (const GgufValue* const value = find("rope.scaling.type")) {
      if (!value->text()) return refuse(fmt::format("{}rope.scaling.type is no text", prefix_));
      type = *value->text();
    }
    const auto older = number("rope.scale_linear", 0.0);
    if (!older) return older.error();
    const auto factor = number("rope.scaling.factor", *older);
    if (!factor) return factor.error();
    const auto attention = number("rope.scaling.attn_factor", 1.0);
    if (!attention) return attention.error();
    const bool yarn = type == "yarn";
    if (!yarn && *attention != 1.0)
      return refuse(fmt::format("{}rope.scaling.attn_factor is implemented for yarn alone", prefix_));
    const auto extrapolation = number("rope.scaling.yarn_ext_factor", -1.0);
    if (!extrapolation) return extrapolation.error();
    if (*extrapolation >= 0.0 && *extrapolation != (yarn ? 1.0 : 0.0))
      return refuse(
          fmt::format("{}rope.scaling.yarn_ext_factor {} is not implemented", prefix_, *extrapolation));
    if (type == "none" || (type == "linear" && (*factor == 0.0 || *factor == 1.0))) return ok_status();
    json& out = out_["rope_scaling"] = {{"rope_type", type}, {"factor", *factor == 0.0 ? 1.0 : *factor}};
    return yarn ? read_yarn(*factor, *attention, out) : ok_status();
  }

  Status read_yarn(double factor, double attention, json& out) {
    if (const auto original = gguf_integer(file_, "rope.scaling.original_context_length"))
      out["original_max_position_embeddings"] = *original;
    // Beside YaRN's own factor, which the parser of config.json would take it for.
    if (attention != 1.0) out["attention_factor"] = attention * (0.1 * std::log(std::max(factor, 1.0)) + 1.0);
    for (const Key& key :
         {Key{"rope.scaling.yarn_beta_fast", "beta_fast"}, Key{"rope.scaling.yarn_beta_slow", "beta_slow"}}) {
      const auto beta = number(key.gguf, 0.0);
      if (!beta) return beta.error();
      if (find(key.gguf) != nullptr) out[key.config] = *beta;
    }
    return ok_status();
  }

  Status tokens() {
    json ends = json::array();
    for (const std::string_view key : kEnds) {
      const GgufValue* const value = file_.find(key);
      if (value == nullptr) continue;
      const auto id = value->integer();
      if (!id) return refuse(fmt::format("{} is no token id", key));
      ends.push_back(*id);
    }
    if (!ends.empty()) out_["eos_token_id"] = std::move(ends);
    if (const GgufValue* const bos = file_.find("tokenizer.ggml.bos_token_id")) {
      if (const auto id = bos->integer()) out_["bos_token_id"] = *id;
    }
    return ok_status();
  }

  // What the file has not in words its tensors say.
  void tensors() {
    bool tied = true, attention_bias = false, mlp_bias = false;
    for (const GgufTensor& tensor : file_.tensors()) {
      if (tensor.name == "token_embd.weight") out_["vocab_size"] = tensor.sizes.back();
      if (tensor.name == "output.weight") tied = false;
      if (tensor.name == "blk.0.attn_q.bias") attention_bias = true;
      if (tensor.name == "blk.0.ffn_gate.bias") mlp_bias = true;
    }
    out_["tie_word_embeddings"] = tied;
    const bool optional = gguf_architecture(file_) == "llama";  // others always have them, or never
    if (optional && attention_bias) out_["attention_bias"] = true;
    if (optional && mlp_bias) out_["mlp_bias"] = true;
  }

  const GgufFile& file_;
  std::string_view name_;
  std::string prefix_;
  json out_ = json::object();
};

}  // namespace

std::string_view gguf_architecture(const GgufFile& file) {
  const GgufValue* const value = file.find("general.architecture");
  return value == nullptr ? std::string_view{} : value->text().value_or(std::string_view{});
}

std::optional<std::int64_t> gguf_integer(const GgufFile& file, std::string_view key) {
  const GgufValue* const value = file.find(fmt::format("{}.{}", gguf_architecture(file), key));
  return value == nullptr ? std::nullopt : value->integer();
}

Result<json> gguf_config(const GgufFile& file, std::string_view name) {
  return ConfigWriter(file, name).write();
}

}  // namespace dslad::worker
