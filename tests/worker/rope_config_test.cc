// Rotary embeddings: what config.json of transformers 4 and 5 says of them, against what transformers makes
// of it.
#include "worker/model/rope_config.h"

#include <fstream>
#include <gmock/gmock.h>

#include "tests/worker/small_config.h"
#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using testing::accepted;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::refusal;
using testing::small_config;

json with(std::initializer_list<std::pair<const char*, json>> keys) {
  json config = small_config();
  for (const auto& [key, value] : keys) config[key] = value;
  return config;
}

// 64 and 8192 tokens stand for those that a model was trained with.
const json kLlama3 = {{"rope_type", "llama3"},
                      {"factor", 8.0},
                      {"low_freq_factor", 1.0},
                      {"high_freq_factor", 4.0},
                      {"original_max_position_embeddings", 64}};

TEST(RopeConfig, FrequenciesAndFactorAreThoseOfTransformers) {
  const json cases = json::parse(std::ifstream(testing::golden_path("rope") / "rope.json"));
  ASSERT_GE(cases.size(), 15u);
  for (const json& tested : cases) {
    json config = small_config();
    config.erase("rope_theta");
    config.update(tested["config"]);
    const LlamaConfig read = accepted(config);
    EXPECT_NEAR(read.rope.attention_factor, tested["attention_factor"], 1e-9) << tested["config"];
    const std::vector<double> frequencies = read.inverse_frequencies();
    ASSERT_EQ(frequencies.size(), tested["frequencies"].size());
    for (std::size_t j = 0; j < frequencies.size(); ++j) {
      const double expected = tested["frequencies"][j];
      EXPECT_NEAR(frequencies[j], expected, 2e-6 * expected) << tested["config"] << ", pair " << j;
    }
  }
}

TEST(RopeConfig, TransformersFourAndFive_SayTheSame) {
  const json plain = {{"rope_type", "default"}, {"rope_theta", 20000.0}};
  EXPECT_EQ(accepted(with({{"rope_theta", nullptr}, {"rope_parameters", plain}})).rope,
            accepted(small_config()).rope);
  json inside = kLlama3;
  inside["rope_theta"] = 20000.0;
  const RopeConfig expected = accepted(with({{"rope_scaling", kLlama3}})).rope;
  EXPECT_EQ(expected.type, RopeType::kLlama3);
  EXPECT_EQ(expected.original_context, 64);
  EXPECT_EQ(accepted(with({{"rope_theta", nullptr}, {"rope_parameters", inside}})).rope, expected);
  EXPECT_EQ(accepted(with({{"rope_theta", nullptr}, {"rope_parameters", {{"full_attention", inside}}}})).rope,
            expected);
  EXPECT_EQ(accepted(with({{"rope_parameters", kLlama3}})).rope, expected) << "theta beside it";
  json old_name = kLlama3;
  old_name["type"] = old_name["rope_type"];
  EXPECT_EQ(accepted(with({{"rope_scaling", old_name}})).rope, expected) << "both names of the type";
  old_name.erase("rope_type");
  EXPECT_EQ(accepted(with({{"rope_scaling", old_name}})).rope, expected);
  EXPECT_EQ(accepted(with({{"rope_scaling", kLlama3}, {"rope_parameters", inside}})).rope, expected);
}

TEST(RopeConfig, ThetaInside_WinsOverTheOneBeside) {
  EXPECT_EQ(accepted(with({{"rope_parameters", {{"rope_theta", 5e5}}}})).rope.theta, 5e5);
  EXPECT_EQ(accepted(with({{"rope_parameters", {{"full_attention", {{"rope_theta", 5e5}}}}}})).rope.theta,
            5e5);
  EXPECT_EQ(accepted(with({{"rope_parameters", json::object()}})).rope.theta, 20000.0);
}

// A file that names types of layer which the model does not have is as good as one without them.
TEST(RopeConfig, ByLayerType_CountsForTheLayersThatTheModelHas) {
  const json other = {{"rope_type", "longrope"}};
  const json scaled = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 1e6}};
  const json both = {{"full_attention", scaled}, {"sliding_attention", other}};
  EXPECT_EQ(accepted(with({{"rope_parameters", both}})).rope.factor, 2.0);
  json sliding =
      with({{"architectures", {"MistralForCausalLM"}}, {"model_type", "mistral"}, {"sliding_window", 8}});
  sliding["rope_parameters"] = {{"full_attention", other}, {"sliding_attention", scaled}};
  EXPECT_EQ(accepted(sliding).rope.factor, 2.0);
  sliding["rope_parameters"] = both;
  EXPECT_THAT(refusal(sliding),
              AllOf(HasSubstr("rope_parameters: sliding_attention"), HasSubstr("longrope")));
  EXPECT_THAT(refusal(with({{"rope_parameters", {{"sliding_attention", scaled}}}})),
              AllOf(HasSubstr("rope_parameters: full_attention is absent"), HasSubstr("required")));
}

TEST(RopeConfig, LayersWithDifferentOnes_AreRefused) {
  json config = with({{"architectures", {"Qwen2ForCausalLM"}},
                      {"model_type", "qwen2"},
                      {"use_sliding_window", true},
                      {"sliding_window", 8},
                      {"max_window_layers", 1}});
  const json plain = {{"rope_theta", 1e4}}, scaled = {{"rope_theta", 1e6}};
  config["rope_parameters"] = {{"full_attention", plain}, {"sliding_attention", plain}};
  EXPECT_EQ(accepted(config).rope.theta, 1e4);
  config["rope_parameters"] = {{"full_attention", plain}, {"sliding_attention", scaled}};
  EXPECT_THAT(refusal(config), AllOf(HasSubstr("sliding_attention"), HasSubstr("differ between layers")));
}

TEST(RopeConfig, Dynamic_IsThePlainOneUpToTheStatedContext) {
  const LlamaConfig config = accepted(with({{"rope_scaling", {{"type", "dynamic"}, {"factor", 4.0}}}}));
  EXPECT_EQ(config.rope, accepted(small_config()).rope);
  EXPECT_EQ(config.context, 128);
}

TEST(RopeConfig, Yarn_LengthensTheContextOthersDoNot) {
  const json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}};
  EXPECT_EQ(accepted(with({{"rope_scaling", yarn}})).context, 512);
  json config = with({{"rope_scaling", yarn}, {"max_position_embeddings", 1000}});
  EXPECT_EQ(accepted(config).context, 1000);
  config["rope_scaling"].erase("original_max_position_embeddings");
  EXPECT_EQ(accepted(config).context, 4000) << "the original is then max_position_embeddings";
  EXPECT_EQ(accepted(config).rope.original_context, 1000);
  config["original_max_position_embeddings"] = 500;
  EXPECT_EQ(accepted(config).context, 2000) << "as Phi's configurations have it, beside the object";
  EXPECT_EQ(accepted(with({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}})).context, 128);
  EXPECT_EQ(accepted(with({{"rope_scaling", kLlama3}})).context, 128);
}

TEST(RopeConfig, WhatIsNotImplemented_IsRefusedByName) {
  for (const char* const type : {"longrope", "su", "mrope", "proportional", "axial", "ntk"}) {
    EXPECT_THAT(
        refusal(with({{"rope_scaling", {{"rope_type", type}, {"factor", 2.0}}}})),
        AllOf(HasSubstr("model/config.json: rope_scaling: rope_type"), HasSubstr(type), HasSubstr("llama3")));
    EXPECT_THAT(refusal(with({{"rope_parameters", {{"type", type}}}})),
                AllOf(HasSubstr("rope_parameters: type"), HasSubstr(type)));
  }
  const std::vector<std::pair<json, const char*>> cases = {
      {{{"type", "default"}, {"mrope_section", {16, 24, 24}}}, "mrope_section"},
      {{{"type", "dynamic"}, {"factor", 2.0}, {"alpha", 1000.0}}, "alpha"},
      {{{"rope_type", "default"}, {"type", "linear"}, {"factor", 2.0}}, "rope_type is another"},
      {{{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}, "partial_rotary_factor"},
      {{{"rope_type", 3}}, "rope_type"},
      {{{"rope_type", "linear"}}, "factor is absent"},
      {{{"rope_type", "linear"}, {"factor", 0.5}}, "factor"},
      {{{"rope_type", "linear"}, {"factor", "2"}}, "factor"},
      {{{"rope_type", "llama3"}, {"factor", 8.0}}, "low_freq_factor is absent"},
      {{{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 4}, {"high_freq_factor", 4}},
       "high_freq_factor"},
      {{{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 1}, {"beta_slow", 2}}, "beta_fast"},
      {{{"rope_type", "yarn"}, {"factor", 2}, {"truncate", 1}}, "truncate"},
      {{{"rope_type", "yarn"}, {"original_max_position_embeddings", 256}},
       "original_max_position_embeddings"},
      {{{"rope_type", "yarn"}, {"factor", 1e6}}, "factor"},
      {{{"rope_type", "yarn"}, {"factor", 2}, {"rope_theta", 1}}, "rope_theta"},
      {{{"full_attention", {{"rope_type", "default"}}}, {"chunked_attention", nullptr}}, "chunked_attention"},
      {{{"full_attention", {{"rope_type", "default"}, {"alpha", 1}}}}, "alpha"},
      {json::array(), "expected a JSON object"},
      {"llama3", "expected a JSON object"},
  };
  for (const auto& [rope, named] : cases) {
    EXPECT_THAT(refusal(with({{"rope_scaling", rope}})), AllOf(HasSubstr("rope_scaling"), HasSubstr(named)));
    EXPECT_THAT(refusal(with({{"rope_parameters", rope}})),
                AllOf(HasSubstr("rope_parameters"), HasSubstr(named)));
  }
  EXPECT_THAT(refusal(with({{"rope_scaling", kLlama3}, {"rope_parameters", {{"rope_theta", 20000.0}}}})),
              AllOf(HasSubstr("rope_scaling"), HasSubstr("rope_parameters says something else")));
}

}  // namespace
}  // namespace dslad::worker
