// Which architectures run, and which parts their layers have by config.json of transformers 4 and 5.
#include "worker/model/architecture.h"

#include <gmock/gmock.h>

#include "tests/worker/small_config.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using testing::accepted;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::refusal;

json config_of(const char* architecture, const char* model_type,
               std::initializer_list<std::pair<const char*, json>> keys = {}) {
  json config = testing::small_config();
  config["architectures"] = {architecture};
  config["model_type"] = model_type;
  config["num_hidden_layers"] = 4;
  for (const auto& [key, value] : keys) config[key] = value;
  return config;
}
json llama(std::initializer_list<std::pair<const char*, json>> keys = {}) {
  return config_of("LlamaForCausalLM", "llama", keys);
}
json mistral(std::initializer_list<std::pair<const char*, json>> keys = {}) {
  return config_of("MistralForCausalLM", "mistral", keys);
}
json qwen2(std::initializer_list<std::pair<const char*, json>> keys = {}) {
  return config_of("Qwen2ForCausalLM", "qwen2", keys);
}
json qwen3(std::initializer_list<std::pair<const char*, json>> keys = {}) {
  return config_of("Qwen3ForCausalLM", "qwen3", keys);
}
json smollm3(std::initializer_list<std::pair<const char*, json>> keys = {}) {
  return config_of("SmolLM3ForCausalLM", "smollm3", keys);
}
json without(json config, const char* key) {
  config.erase(key);
  return config;
}

TEST(Architecture, IsNamedByArchitecturesOrElseByModelType) {
  for (const json& config : {llama(), mistral(), qwen2(), qwen3(), smollm3()}) {
    const std::string name = config["architectures"][0];
    EXPECT_EQ(accepted(config).architecture, name);
    EXPECT_EQ(accepted(without(config, "architectures")).architecture, name);
    EXPECT_EQ(accepted(without(config, "model_type")).architecture, name);
  }
}

TEST(Architecture, Others_AreRefusedWithTheListOfThoseThatRun) {
  for (const char* const name :
       {"GemmaForCausalLM", "Phi3ForCausalLM", "MixtralForCausalLM", "Qwen3MoeForCausalLM"}) {
    EXPECT_THAT(refusal(config_of(name, "llama")),
                AllOf(HasSubstr(name), HasSubstr("LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, "
                                                 "Qwen3ForCausalLM, SmolLM3ForCausalLM")));
  }
  EXPECT_THAT(refusal(without(config_of("", "gemma2"), "architectures")),
              HasSubstr("architectures is absent"));
  EXPECT_THAT(refusal(config_of("LlamaForCausalLM", "mistral")),
              AllOf(HasSubstr("model_type is \"mistral\""), HasSubstr("LlamaForCausalLM")));
}

TEST(Architecture, ALlamaHasTheBiasesThatItsKeysName) {
  const LlamaConfig plain = accepted(llama());
  EXPECT_FALSE(plain.qkv_bias || plain.output_bias || plain.mlp_bias || plain.qk_norm);
  EXPECT_THAT(plain.windows, IsEmpty());
  EXPECT_TRUE(plain.rotates(3));
  const LlamaConfig attention = accepted(llama({{"attention_bias", true}}));
  EXPECT_TRUE(attention.qkv_bias && attention.output_bias);
  EXPECT_FALSE(attention.mlp_bias);
  EXPECT_TRUE(accepted(llama({{"mlp_bias", true}})).mlp_bias);
}

TEST(Architecture, AMistralsWindowIsOfAllLayers) {
  EXPECT_THAT(accepted(mistral({{"sliding_window", 32}})).windows, ElementsAre(32, 32, 32, 32));
  EXPECT_THAT(accepted(mistral({{"sliding_window", nullptr}})).windows, IsEmpty());
  EXPECT_THAT(accepted(mistral({{"sliding_window", 128}})).windows, IsEmpty())
      << "the context has 128 tokens";
  EXPECT_THAT(accepted(mistral({{"max_position_embeddings", 8192}})).windows,
              ElementsAre(4096, 4096, 4096, 4096))
      << "the class's, where the key is absent";
  EXPECT_THAT(
      accepted(mistral({{"sliding_window", 32}, {"layer_types", json(4, "sliding_attention")}})).window(2),
      32);
  EXPECT_THAT(refusal(mistral({{"sliding_window", 32}, {"layer_types", json(4, "full_attention")}})),
              HasSubstr("layer_types"));
  EXPECT_THAT(refusal(mistral({{"sliding_window", 32}, {"use_sliding_window", false}})),
              HasSubstr("use_sliding_window"));
  EXPECT_THAT(refusal(mistral({{"sliding_window", 0}})), HasSubstr("sliding_window"));
  EXPECT_THAT(refusal(mistral({{"attention_bias", true}})), HasSubstr("attention_bias"));
  EXPECT_THAT(refusal(mistral({{"mlp_bias", true}})), HasSubstr("mlp_bias"));
}

TEST(Architecture, AQwen2HasBiasesOfQAndKAndV) {
  const LlamaConfig config = accepted(qwen2());
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_FALSE(config.output_bias || config.mlp_bias || config.qk_norm);
  EXPECT_THAT(refusal(qwen2({{"attention_bias", false}})), HasSubstr("attention_bias"));
  EXPECT_THAT(refusal(qwen2({{"mlp_bias", true}})), HasSubstr("mlp_bias"));
}

TEST(Architecture, AQwensWindowIsOfTheLayersThatItsKeysName) {
  // As Qwen 2.5's files have it.
  EXPECT_THAT(
      accepted(qwen2({{"use_sliding_window", false}, {"sliding_window", 64}, {"max_window_layers", 2}}))
          .windows,
      IsEmpty());
  EXPECT_THAT(accepted(qwen2({{"sliding_window", 64}})).windows, IsEmpty());
  const auto used = [](std::initializer_list<std::pair<const char*, json>> keys) {
    json config = qwen2({{"use_sliding_window", true}, {"sliding_window", 64}});
    for (const auto& [key, value] : keys) config[key] = value;
    return config;
  };
  EXPECT_THAT(accepted(used({{"max_window_layers", 2}})).windows, ElementsAre(0, 0, 64, 64));
  EXPECT_THAT(accepted(used({})).windows, IsEmpty()) << "from layer 28 on";
  const json types = {"full_attention", "sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_THAT(accepted(used({{"layer_types", types}, {"max_window_layers", 2}})).windows,
              ElementsAre(0, 64, 0, 64));
  json by_types = used({{"layer_types", types}});
  by_types["architectures"] = {"Qwen3ForCausalLM"};
  by_types["model_type"] = "qwen3";
  EXPECT_THAT(accepted(by_types).windows, ElementsAre(0, 64, 0, 64));
  by_types["use_sliding_window"] = false;
  EXPECT_THAT(refusal(by_types), AllOf(HasSubstr("layer_types"), HasSubstr("layer 1")));
  EXPECT_THAT(accepted(used({{"sliding_window", nullptr}, {"max_window_layers", 0}})).windows, IsEmpty());
  EXPECT_THAT(refusal(used({{"layer_types", {"full_attention"}}})), HasSubstr("layer_types"));
  EXPECT_THAT(refusal(used({{"layer_types", json(4, "chunked_attention")}})), HasSubstr("chunked_attention"));
}

TEST(Architecture, AQwen3HasNormsAndItsClassesHeadSize) {
  const LlamaConfig config = accepted(without(qwen3(), "head_dim"));
  EXPECT_TRUE(config.qk_norm);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_EQ(accepted(qwen3({{"head_dim", 16}})).head_dim, 16);
  EXPECT_TRUE(accepted(qwen3({{"attention_bias", true}})).output_bias);
  EXPECT_THAT(refusal(qwen3({{"mlp_bias", true}})), HasSubstr("mlp_bias"));
}

TEST(Architecture, ASmolLm3HasLayersWithoutRope) {
  const auto layers = [](const LlamaConfig& c) {
    return std::vector<bool>{c.rotates(0), c.rotates(1), c.rotates(2), c.rotates(3)};
  };
  EXPECT_THAT(layers(accepted(smollm3())), ElementsAre(true, true, true, false)) << "every fourth has none";
  EXPECT_THAT(layers(accepted(smollm3({{"no_rope_layer_interval", 2}}))),
              ElementsAre(true, false, true, false));
  EXPECT_THAT(layers(accepted(smollm3({{"no_rope_layers", {0, 1, 1, 1}}, {"no_rope_layer_interval", 2}}))),
              ElementsAre(false, true, true, true));
  EXPECT_THAT(refusal(smollm3({{"no_rope_layers", {0, 1}}})), HasSubstr("no_rope_layers"));
  EXPECT_THAT(refusal(smollm3({{"no_rope_layers", {0, 1, 2, 1}}})), HasSubstr("no_rope_layers"));
  EXPECT_THAT(refusal(smollm3({{"no_rope_layer_interval", 0}})), HasSubstr("no_rope_layer_interval"));
  EXPECT_THAT(refusal(llama({{"no_rope_layers", {1, 1, 1, 0}}})), HasSubstr("no_rope_layers"));
  EXPECT_THAT(refusal(qwen2({{"no_rope_layer_interval", 4}})), HasSubstr("no_rope_layer_interval"));
  EXPECT_THAT(accepted(smollm3({{"use_sliding_window", true}, {"sliding_window", 16}})).windows,
              ElementsAre(0, 0, 0, 16))
      << "of the layers without rotary embedding";
}

// Keys that transformers 4 leaves out when they have the class's value.
TEST(Architecture, AbsentKeys_HaveTheClassesDefaults) {
  json config = smollm3({{"num_attention_heads", 8}, {"hidden_size", 64}});
  for (const char* const key :
       {"tie_word_embeddings", "rope_theta", "num_key_value_heads", "max_position_embeddings"})
    config.erase(key);
  const LlamaConfig read = accepted(config);
  EXPECT_TRUE(read.tie_word_embeddings);
  EXPECT_EQ(read.rope.theta, 2e6);
  EXPECT_EQ(read.kv_heads, 4);
  EXPECT_EQ(read.context, 32768);
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(accepted(config).kv_heads, 8) << "null takes the default away";
  EXPECT_FALSE(accepted(without(qwen2(), "tie_word_embeddings")).tie_word_embeddings);
}

TEST(Architecture, OtherGraphs_AreRefusedByKey) {
  const std::vector<std::pair<const char*, json>> cases = {
      {"hidden_act", "gelu"},
      {"hidden_activation", "gelu_pytorch_tanh"},
      {"quantization_config", {{"bits", 4}}},
      {"partial_rotary_factor", 0.5},
      {"partial_rotary_factor", 0},
      {"attn_logit_softcapping", 50.0},
      {"final_logit_softcapping", 30.0},
      {"attention_multiplier", 0.015625},
      {"embedding_multiplier", 12.0},
      {"residual_multiplier", 0.22},
      {"logits_scaling", 8.0},
      {"logit_scale", 0.0625},
      {"query_pre_attn_scalar", 256},
      {"num_local_experts", 8},
      {"num_experts", 64},
      {"use_bidirectional_attention", true},
      {"is_causal", false},
      {"use_qk_norm", true},
      {"sliding_window", 4096},
      {"layer_types", json(4, "sliding_attention")},
      {"attention_chunk_size", 8192},
  };
  for (const auto& [key, value] : cases)
    EXPECT_THAT(refusal(llama({{key, value}})), AllOf(HasSubstr("model/config.json"), HasSubstr(key)));
}

TEST(Architecture, KeysThatChangeNothing_AreTaken) {
  accepted(llama({{"partial_rotary_factor", 1.0},
                  {"embedding_multiplier", 1},
                  {"num_experts", 0},
                  {"final_logit_softcapping", nullptr},
                  {"parallel_attn", false},
                  {"hidden_act", "swish"},
                  {"sliding_window", nullptr},
                  {"layer_types", json(4, "full_attention")},
                  {"is_causal", true},
                  {"pretraining_tp", 2},
                  {"attention_dropout", 0.1}}));
  EXPECT_THAT(accepted(llama({{"sliding_window", 64}, {"use_sliding_window", false}})).windows, IsEmpty());
}

}  // namespace
}  // namespace dslad::worker
