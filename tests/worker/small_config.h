// A small config.json to change, and what becomes of it.
#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/model/config.h"

namespace dslad::worker::testing {

inline nlohmann::json small_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 48},
          {"intermediate_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 2},
          {"vocab_size", 97},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 20000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"bos_token_id", 1},
          {"eos_token_id", 2}};
}

inline Result<LlamaConfig> parse_config(const nlohmann::json& config, const std::string& generation = "") {
  return LlamaConfig::parse(config.dump(), generation, "model");
}

// What `config`, which must be accepted, says.
inline LlamaConfig accepted(const nlohmann::json& config) {
  auto result = parse_config(config);
  EXPECT_TRUE(result.ok()) << config.dump() << "\n" << result.error().message;
  return result.ok() ? *std::move(result) : LlamaConfig();
}

// The message that `config` is refused with.
inline std::string refusal(const nlohmann::json& config) {
  const auto result = parse_config(config);
  EXPECT_FALSE(result.ok()) << config.dump();
  return result.ok() ? "" : result.error().message;
}

}  // namespace dslad::worker::testing
