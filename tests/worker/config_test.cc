#include "worker/model/config.h"

#include <cmath>
#include <gmock/gmock.h>
#include <random>

#include "tests/worker/small_config.h"
#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::refusal;
using testing::small_config;

TEST(Config, ReadsEveryField) {
  const auto config = testing::parse_config(small_config());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->hidden_size, 48);
  EXPECT_EQ(config->intermediate_size, 64);
  EXPECT_EQ(config->layers, 2);
  EXPECT_EQ(config->heads, 6);
  EXPECT_EQ(config->kv_heads, 2);
  EXPECT_EQ(config->head_dim, 8);
  EXPECT_EQ(config->vocab_size, 97);
  EXPECT_EQ(config->context, 128);
  EXPECT_DOUBLE_EQ(config->rms_norm_eps, 1e-5);
  EXPECT_DOUBLE_EQ(config->rope.theta, 20000.0);
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->bos_token_id, 1);
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
}

TEST(Config, AbsentAndNullKeys_MeanHuggingFacesDefaults) {
  json config = small_config();
  for (const char* key : {"num_key_value_heads", "rope_theta", "max_position_embeddings",
                          "tie_word_embeddings", "bos_token_id", "eos_token_id", "hidden_act"}) {
    config.erase(key);
  }
  config["rms_norm_eps"] = nullptr;
  config["head_dim"] = nullptr;
  config["rope_scaling"] = nullptr;
  const auto result = testing::parse_config(config);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->kv_heads, 6);
  EXPECT_EQ(result->head_dim, 8);
  EXPECT_EQ(result->context, 2048);
  EXPECT_DOUBLE_EQ(result->rope.theta, 10000.0);
  EXPECT_DOUBLE_EQ(result->rms_norm_eps, 1e-6);
  EXPECT_FALSE(result->tie_word_embeddings);
  EXPECT_FALSE(result->bos_token_id.has_value());
  EXPECT_TRUE(result->eos_token_ids.empty());
}

TEST(Config, ExplicitHeadDim_WinsOverHiddenSizeByHeads) {
  json config = small_config();
  config["head_dim"] = 20;
  config["hidden_size"] = 50;
  const auto result = testing::parse_config(config);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->head_dim, 20);
}

TEST(Config, EosTokensOfBothFiles_AreJoined) {
  json config = small_config();
  config["eos_token_id"] = {2, 5};
  const auto result = testing::parse_config(config, R"({"eos_token_id": [5, 7]})");
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_THAT(result->eos_token_ids, ElementsAre(2, 5, 7));
}

TEST(Config, WhatIsNotImplemented_IsRefusedByKey) {
  const std::vector<std::pair<const char*, json>> cases = {
      {"architectures", {"GemmaForCausalLM"}}, {"hidden_act", "gelu"},
      {"quantization_config", {{"bits", 4}}},  {"rope_scaling", {{"rope_type", "longrope"}, {"factor", 8.0}}},
      {"partial_rotary_factor", 0.5},
  };
  for (const auto& [key, value] : cases) {
    json config = small_config();
    config[key] = value;
    EXPECT_THAT(refusal(config), AllOf(HasSubstr("model/config.json"), HasSubstr(key)));
  }
}

TEST(Config, ValuesOutOfRange_NameKeyValueAndRange) {
  const std::vector<std::pair<const char*, json>> cases = {
      {"hidden_size", 0},
      {"hidden_size", -48},
      {"hidden_size", 48.5},
      {"hidden_size", "48"},
      {"intermediate_size", 1e12},
      {"vocab_size", 18446744073709551615ull},
      {"num_hidden_layers", 0},
      {"num_attention_heads", 2000},
      {"num_key_value_heads", 4},
      {"num_key_value_heads", 0},
      {"head_dim", 7},
      {"head_dim", 6},
      {"head_dim", 258},
      {"rms_norm_eps", -1.0},
      {"rope_theta", 0.0},
      {"bos_token_id", 97},
      {"eos_token_id", -1},
      {"eos_token_id", {1, 97}},
      {"eos_token_id", "2"},
      {"tie_word_embeddings", 1},
      {"max_position_embeddings", 0},
  };
  for (const auto& [key, value] : cases) {
    json config = small_config();
    config[key] = value;
    EXPECT_THAT(refusal(config), AllOf(HasSubstr(key), HasSubstr(value.dump().substr(0, 8))));
  }
}

TEST(Config, RequiredKeyMissing_IsNamed) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_attention_heads"}) {
    json config = small_config();
    config.erase(key);
    EXPECT_THAT(refusal(config), AllOf(HasSubstr(key), HasSubstr("required")));
  }
}

TEST(Config, DuplicateKeys_AreAnError) {
  const auto result = LlamaConfig::parse(R"({"hidden_size": 48, "hidden_size": 64})", "", "model");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(result.error().message, AllOf(HasSubstr("hidden_size"), HasSubstr("twice")));
}

TEST(Config, DeepNesting_IsAnErrorNotAStackOverflow) {
  const auto result = LlamaConfig::parse(std::string(1'000'000, '['), "", "model");
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
}

TEST(Config, MissingFile_SaysWhatAModelFolderNeeds) {
  const testing::TempDir dir;
  const auto result = LlamaConfig::load(dir.path());
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(result.error().message, HasSubstr("config.json"));
}

TEST(Config, BrokenGenerationConfig_IsNamed) {
  const testing::TempDir dir;
  dir.write("config.json", small_config().dump());
  dir.write("generation_config.json", "{");
  const auto result = LlamaConfig::load(dir.path());
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(result.error().message, HasSubstr("generation_config.json"));
}

TEST(Config, InverseFrequencies_AreThetasPowers) {
  json document = small_config();
  document["head_dim"] = 16;
  const auto config = testing::parse_config(document);
  ASSERT_TRUE(config.ok());
  const auto frequencies = config->inverse_frequencies();
  ASSERT_EQ(frequencies.size(), 8u);
  for (int j = 0; j < 8; ++j) {
    EXPECT_DOUBLE_EQ(frequencies[static_cast<std::size_t>(j)], std::pow(20000.0, -2.0 * j / 16.0));
  }
}

class GoldenConfig : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenConfig, Loads) {
  const auto config = LlamaConfig::load(testing::golden_path(GetParam()));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_THAT(config->eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config->bos_token_id, 1);
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenConfig,
    ::testing::Values("stories260K", "babyllama", "tiny_llama/gqa3_f32", "tiny_llama/wide_heads_f16",
                      "tiny_llama/mqa_bf16", "tiny_llama/mha_sharded_bf16",
                      "tiny_llama/narrow_heads_sharded_f32", "tiny_llama/linear_rope",
                      "tiny_llama/dynamic_rope", "tiny_llama/llama3_rope", "tiny_llama/yarn_rope",
                      "tiny_llama/biases", "tiny_llama/mistral_window", "tiny_llama/qwen2",
                      "tiny_llama/qwen2_window", "tiny_llama/qwen2_layer_types", "tiny_llama/qwen3",
                      "tiny_llama/qwen3_window", "tiny_llama/qwen3_biases", "tiny_llama/smollm3",
                      "tiny_llama/smollm3_window", "tiny_llama/smollm3_biases"));

TEST(ConfigFuzz, MutatedText_IsReadOrRefusedNeverACrash) {
  std::mt19937_64 random(1);
  const std::string text = small_config().dump();
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    const auto result = LlamaConfig::parse(testing::mutate(text, random), "", "model");
    if (result.ok()) continue;
    ++refused;
    EXPECT_FALSE(result.error().message.empty());
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace dslad::worker
