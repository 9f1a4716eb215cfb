// The layers' files of a chain: what they start from, round trips, and an error that names the place for each
// thing that is wrong.
#include "worker/model/dsla_layer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <limits>

#include "tests/worker/test_files.h"
#include "worker/model/chain.h"
#include "worker/model/safetensors_writer.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::read_text;
using testing::TempDir;

class DslaLayerFile : public ::testing::Test {
 protected:
  [[nodiscard]] DslaLayerTensors initial(const DslaVariant& variant) const {
    return *initial_dsla_layer(teacher_, config_, 1, variant);
  }
  [[nodiscard]] DistilledLayer saved(const DslaVariant& variant, const DslaLayerTensors& tensors,
                                     DType dtype = DType::kF32) const {
    const auto result = save_dsla_layer(folder_.path(), layer_file_name(1), config_, variant, tensors, dtype);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return {1, result->file, result->checksum, nlohmann::json::object()};
  }
  [[nodiscard]] std::string refusal(const DistilledLayer& layer, const DslaVariant& variant) const {
    const auto loaded = load_dsla_layer(folder_.path(), layer, config_, variant);
    return loaded.ok() ? "accepted" : loaded.error().message;
  }

  TempDir folder_;
  LlamaConfig config_ = *LlamaConfig::load(golden_path("stories260K"));
  WeightFiles teacher_ = *WeightFiles::open(golden_path("stories260K"));
};

DslaVariant everything() {
  return *named_variant("dslad");
}

TEST_F(DslaLayerFile, ComesBackAsItWasSaved) {
  DslaVariant wide = everything();
  wide.feature_map = kernels::FeatureMap::kSoftmaxPair;
  DslaVariant expanded = wide;
  expanded.rotary = false;
  expanded.expand_k = 3;
  DslaVariant single = expanded, bare;
  single.states = bare.states = 1;
  DslaVariant delta = single;
  delta.delta = true;
  for (const DslaVariant& variant :
       {*named_variant("paper"), everything(), wide, expanded, single, bare, delta}) {
    const DslaLayerTensors tensors = initial(variant);
    const auto loaded = load_dsla_layer(folder_.path(), saved(variant, tensors), config_, variant);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    EXPECT_EQ(*loaded, tensors);
  }
}

TEST_F(DslaLayerFile, InBf16OnlyMatricesAreRounded) {
  DslaLayerTensors tensors = initial(everything());
  for (auto* vector : {&tensors.c1, &tensors.c2, &tensors.alpha, &tensors.o_norm}) {
    for (float& value : *vector) value += 1e-3f;
  }
  const auto loaded =
      load_dsla_layer(folder_.path(), saved(everything(), tensors, DType::kBf16), config_, everything());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  for (auto* matrix : {&tensors.q, &tensors.k, &tensors.v, &tensors.o, &tensors.g1, &tensors.g2}) {
    for (float& value : *matrix) value = to_float(kernels::to_bf16(value));
  }
  EXPECT_EQ(*loaded, tensors);
}

TEST_F(DslaLayerFile, StartsFromTheTeacherAndTheVariantsBiases) {
  const DslaLayerTensors tensors = initial(everything());
  const TensorView* query = teacher_.find("model.layers.1.self_attn.q_proj.weight");
  std::vector<float> expected(static_cast<std::size_t>(query->elements()));
  ASSERT_TRUE(read_rows(*query, 0, query->rows(), expected.data()).ok());
  EXPECT_EQ(tensors.q, expected);
  EXPECT_THAT(tensors.c1, ::testing::Each(6.0f));
  EXPECT_THAT(tensors.c2, ::testing::Each(-6.0f));
  EXPECT_THAT(tensors.o_norm, ::testing::Each(1.0f));
  EXPECT_EQ(tensors.alpha.size(), 2u * static_cast<std::size_t>(config_.heads));
  EXPECT_EQ(tensors.g1[0], 1.0f);
  EXPECT_EQ(tensors.g1[1], 0.0f);
}

TEST_F(DslaLayerFile, OfOneStateHasTheHistorysAlone) {
  DslaVariant single = everything();
  single.states = 1;
  const DslaLayerTensors tensors = initial(single), both = initial(everything());
  EXPECT_EQ(tensors.g1, both.g1);
  EXPECT_EQ(tensors.c1, both.c1);
  for (const auto* of_two : {&tensors.g2, &tensors.c2, &tensors.alpha})
    EXPECT_THAT(*of_two, ::testing::IsEmpty());
}

TEST_F(DslaLayerFile, OfTheDeltaRuleHasAGateAndABetaForEachKvHead) {
  DslaVariant delta = everything();
  delta.states = 1;
  delta.delta = true;
  const DslaLayerTensors tensors = initial(delta);
  const auto heads = static_cast<std::size_t>(config_.kv_heads),
             hidden = static_cast<std::size_t>(config_.hidden_size);
  EXPECT_EQ(tensors.g1.size(), heads * hidden);
  EXPECT_EQ(tensors.g1[hidden + 1], 1.0f);
  EXPECT_EQ(tensors.c1, std::vector<float>(heads, 6.0f));
  EXPECT_EQ(tensors.g2, std::vector<float>(heads * hidden));
  EXPECT_EQ(tensors.c2, std::vector<float>(heads)) << "beta begins at 1/2";
  EXPECT_THAT(tensors.alpha, ::testing::IsEmpty());
  DslaVariant single = delta;
  single.delta = false;
  EXPECT_THAT(refusal(saved(delta, tensors), single), HasSubstr("has the shape"));
  EXPECT_THAT(refusal(saved(single, initial(single)), delta), HasSubstr("has the shape"));
}

TEST_F(DslaLayerFile, WiderHeadsBeginWithTheTeachersChannels) {
  DslaVariant variant;
  variant.expand_k = 2;
  const DslaLayerTensors tensors = initial(variant), narrow = initial({});
  const std::ptrdiff_t own = std::ptrdiff_t{config_.head_dim} * config_.hidden_size;
  for (const auto& [wide, teachers] : {std::pair(tensors.q, narrow.q), {tensors.k, narrow.k}}) {
    ASSERT_EQ(wide.size(), 2 * teachers.size());
    for (std::ptrdiff_t head = 0; head * own < std::ssize(teachers); ++head) {
      const auto begin = wide.begin() + 2 * head * own;
      EXPECT_TRUE(std::equal(begin, begin + own, teachers.begin() + head * own)) << head;
    }
  }
  EXPECT_EQ(tensors.v, narrow.v);
  EXPECT_EQ(tensors.o, narrow.o);
}

// In a teacher whose projections pass on the first channels of their input, further channels are the mixtures
// themselves; those of a bias of 1 in a head's first channel are what the mixtures take of it.
TEST_F(DslaLayerFile, FurtherChannelsAreTheSameMixturesOfQueriesAndKeys) {
  config_.heads = 4;
  config_.kv_heads = 2;
  config_.qkv_bias = true;
  const std::int64_t d = config_.head_dim, hidden = config_.hidden_size;
  std::vector<float> heads(static_cast<std::size_t>(config_.heads * d * hidden));
  for (std::int64_t row = 0; row < config_.heads * d; ++row)
    heads[static_cast<std::size_t>(row * hidden + row % d)] = 1.0f;
  std::vector<float> biases(static_cast<std::size_t>(config_.heads * d));
  for (std::size_t head = 0; head < 4; ++head) biases[head * static_cast<std::size_t>(d)] = 1.0f;
  std::vector<TensorToWrite> tensors;
  for (const char* name : {"q", "k", "v", "o"}) {
    const bool query = *name == 'q' || *name == 'o';
    const std::int64_t rows = d * (query ? config_.heads : config_.kv_heads);
    const auto shape = *name == 'o' ? std::vector{hidden, rows} : std::vector{rows, hidden};
    const std::span values(heads.data(), static_cast<std::size_t>(rows * hidden));
    tensors.push_back(
        {fmt::format("model.layers.1.self_attn.{}_proj.weight", name), shape, values, DType::kF32});
    if (*name == 'o') continue;
    tensors.push_back({fmt::format("model.layers.1.self_attn.{}_proj.bias", name),
                       {rows},
                       std::span(biases).first(static_cast<std::size_t>(rows)),
                       DType::kF32});
  }
  const TempDir folder;
  ASSERT_TRUE(write_safetensors(folder.path() / "model.safetensors", tensors).ok());
  DslaVariant variant;
  variant.expand_k = kMaxExpandK;
  const auto wide = initial_dsla_layer(*WeightFiles::open(folder.path()), config_, 1, variant);
  ASSERT_TRUE(wide.ok()) << wide.error().message;
  const std::ptrdiff_t own = d * hidden, all = variant.key_channels(config_.head_dim) * hidden;
  const auto further = [own, all](const std::vector<float>& weight, std::ptrdiff_t head) {
    return std::vector(weight.begin() + head * all + own, weight.begin() + (head + 1) * all);
  };
  for (std::ptrdiff_t head = 0; head < config_.heads; ++head)
    EXPECT_EQ(further(wide->q, head), further(wide->k, head / 2)) << head;
  EXPECT_NE(further(wide->k, 0), further(wide->k, 1));
  for (const auto& [weight, bias] : {std::pair(wide->q, wide->q_bias), {wide->k, wide->k_bias}}) {
    ASSERT_EQ(std::ssize(bias) * hidden, std::ssize(weight));
    for (std::int64_t row = 0; row < std::ssize(bias); ++row) {
      ASSERT_EQ(bias[static_cast<std::size_t>(row)], weight[static_cast<std::size_t>(row * hidden)]) << row;
    }
  }
  // Of variance D^-1/2 in the head's channels, nothing of the others.
  const auto mixtures = further(wide->k, 0);
  double squares = 0;
  for (std::size_t i = 0; i < mixtures.size(); ++i) {
    if (static_cast<std::int64_t>(i) % hidden >= d) {
      EXPECT_EQ(mixtures[i], 0.0f);
    }
    squares += static_cast<double>(mixtures[i]) * mixtures[i];
  }
  EXPECT_NEAR(squares * static_cast<double>(hidden) / static_cast<double>(std::ssize(mixtures) * d),
              1 / std::sqrt(static_cast<double>(d)), 0.03);
}

TEST_F(DslaLayerFile, DamageIsFoundByTheChecksum) {
  const DistilledLayer layer = saved({}, initial({}));
  std::string content = read_text(folder_.path() / layer.file);
  content[content.size() / 2] ^= 1;
  const auto path = folder_.write(layer.file, content);
  const auto loaded = load_dsla_layer(folder_.path(), layer, config_, {});
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(loaded.error().message, HasSubstr(path.string()));
  std::filesystem::remove(path);
  EXPECT_EQ(load_dsla_layer(folder_.path(), layer, config_, {}).error().code, ErrorCode::kNotFound);
}

TEST_F(DslaLayerFile, MustFitTheModelAndTheVariant) {
  const DistilledLayer layer = saved(everything(), initial(everything()));
  EXPECT_EQ(refusal(layer, everything()), "accepted");
  EXPECT_THAT(refusal(layer, {}), HasSubstr("alpha_list"));
  DslaVariant no_window = everything();
  no_window.window = 0;
  EXPECT_THAT(refusal(layer, no_window), HasSubstr("\"state_share\" is no tensor of variant dslad"));
  DslaVariant single = everything();
  single.states = 1;
  EXPECT_THAT(refusal(layer, single), HasSubstr("is no tensor of variant dslad"));
  EXPECT_THAT(refusal(saved(single, initial(single)), everything()), HasSubstr("lacks \"gk_proj2.weight\""));
  const DistilledLayer again = saved(everything(), initial(everything()));
  config_.kv_heads = 2;
  EXPECT_THAT(refusal(again, everything()), HasSubstr("has the shape"));
  config_ = *LlamaConfig::load(golden_path("stories260K"));
  EXPECT_THAT(refusal(saved({}, initial({})), no_window), HasSubstr("alpha_list"));
  DslaVariant window;
  window.window = 3;
  EXPECT_THAT(refusal(saved({}, initial({})), window), HasSubstr("lacks \"state_share\""));
  const DistilledLayer plain = saved(window, initial(window));
  config_.qkv_bias = true;
  EXPECT_THAT(refusal(plain, window), HasSubstr("lacks \"q_proj.bias\""));
}

TEST_F(DslaLayerFile, WhatIsOfTheWrongSizeOrNotFiniteIsNotSaved) {
  DslaLayerTensors tensors = initial({});
  tensors.c2.pop_back();
  const auto small = save_dsla_layer(folder_.path(), layer_file_name(1), config_, {}, tensors, DType::kF32);
  ASSERT_FALSE(small.ok());
  EXPECT_THAT(small.error().message, HasSubstr("gk_proj2.bias"));
  tensors.c2.push_back(std::numeric_limits<float>::quiet_NaN());
  const auto poisoned =
      save_dsla_layer(folder_.path(), layer_file_name(1), config_, {}, tensors, DType::kF32);
  ASSERT_FALSE(poisoned.ok());
  EXPECT_THAT(poisoned.error().message, HasSubstr("not finite"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

}  // namespace
}  // namespace dslad::worker
