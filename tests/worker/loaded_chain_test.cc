// What a chain's folder gives a worker: what is loaded, what refused, and the plans that follow.
#include <gmock/gmock.h>
#include <map>

#include "tests/worker/chained_model.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;
using testing::ChainedModel;
using ::testing::HasSubstr;

const std::vector<int> kOrder = {2, 0, 4, 1, 3};

LoadedChain load(const std::filesystem::path& model, WeightFormat format = WeightFormat::kF32) {
  return load_chain(model, **load_weights(model, format));
}

std::vector<int> order_of(const LoadedChain& chain) {
  std::vector<int> order;
  order.reserve(static_cast<std::size_t>(chain.order.layers()));
  for (int position = 0; position < chain.order.layers(); ++position) {
    order.push_back(chain.order.layer_at(position));
  }
  return order;
}

TEST(LoadedChain, WithoutAChainThereIsPlan0AndNothingToWarnOf) {
  const LoadedChain chain = load(golden("stories260K"));
  EXPECT_FALSE(chain.manifest.has_value());
  EXPECT_TRUE(chain.layers.empty());
  EXPECT_EQ(chain.warning, "");
  EXPECT_EQ(order_of(chain), (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(LoadedChain, GivesTheOrderAndTheDistilledLayers) {
  const ChainedModel model("stories260K", kOrder, 3);
  const LoadedChain chain = load(model.path());
  EXPECT_EQ(chain.warning, "");
  EXPECT_EQ(order_of(chain), kOrder);
  ASSERT_EQ(chain.layers.size(), 3u);
  EXPECT_TRUE(chain.layers[0]->distilled && chain.layers[0]->own_projections());
  EXPECT_EQ(chain.manifest, model.manifest);
}

// The manifest is refused whole.
void expect_plan_0_only(const ChainedModel& model, const std::string& why) {
  const LoadedChain chain = load(model.path());
  EXPECT_FALSE(chain.manifest.has_value());
  EXPECT_TRUE(chain.layers.empty());
  EXPECT_THAT(chain.warning, HasSubstr(model.chain().string()));
  EXPECT_THAT(chain.warning, HasSubstr(why));
  EXPECT_THAT(chain.warning, HasSubstr("plan 0 only"));
}

// Of the layer's own tensors the optional ones are there where the model has them.
TEST(LoadedChain, OfAnyFamilyHasItsBiasesAndNorms) {
  const std::map<std::string, std::vector<int>> models = {
      {"biases", {1, 0}}, {"mistral_window", {1, 0}}, {"qwen3", {1, 0}}, {"smollm3", {1, 0, 2, 3}}};
  for (const auto& [name, order] : models) {
    const ChainedModel model("tiny_llama/" + name, order, 1);
    const LoadedChain chain = load(model.path());
    EXPECT_EQ(chain.warning, "") << name;
    ASSERT_EQ(chain.layers.size(), 1u) << name;
    const DslaWeights& layer = *chain.layers[0];
    EXPECT_EQ(!layer.qkv_bias.empty(), model.config.qkv_bias) << name;
    EXPECT_EQ(!layer.output_bias.empty(), model.config.output_bias) << name;
    EXPECT_EQ(!layer.q_norm.empty(), model.config.qk_norm) << name;
    EXPECT_EQ(!layer.k_norm.empty(), model.config.qk_norm) << name;
  }
}

TEST(LoadedChain, OfAnotherTeacherIsRefused) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.teacher_digest = "00000000000000000000000000000000";
  model.save();
  expect_plan_0_only(model, "digest 00000000000000000000000000000000");
}

TEST(LoadedChain, OfAModelWithOtherLayersIsRefused) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.layers = 6;
  model.manifest.order.push_back(5);
  model.save();
  expect_plan_0_only(model, "6 layers");
}

TEST(LoadedChain, ThatIsMalformedIsRefused) {
  const ChainedModel model("stories260K", kOrder, 2);
  std::ofstream(model.chain() / "chain.json") << "{";
  expect_plan_0_only(model, "malformed JSON");
}

TEST(LoadedChain, PlansStopBeforeALayerThatIsDamagedOrMissing) {
  for (const bool missing : {false, true}) {
    const ChainedModel model("stories260K", kOrder, 3);
    if (missing) {
      std::filesystem::remove(model.file(1));
    } else {
      model.damage(1);
    }
    const LoadedChain chain = load(model.path());
    EXPECT_EQ(chain.layers.size(), 1u);
    EXPECT_EQ(order_of(chain), kOrder);
    EXPECT_THAT(chain.warning, HasSubstr(model.file(1).string()));
    EXPECT_THAT(chain.warning, HasSubstr("plans end at 1, before layer 0"));
  }
}

TEST(Plans, EndWithTheDistilledLayersAndCanBeExtendedByUndistilledOnes) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.plans = {{1, 0.01, 1.02, 0.98, nlohmann::json::object()}};
  model.save();
  const auto weights = *load_weights(model.path(), WeightFormat::kF32);
  const LoadedChain chain = load_chain(model.path(), *weights);
  PlanSet plans(*weights, chain);
  ASSERT_EQ(plans.largest(), 2);
  EXPECT_EQ(plans.plan(2)->edition(), chain.edition);
  EXPECT_EQ(plans.plan(0)->quality(), 1.0);
  EXPECT_EQ(plans.plan(1)->quality(), 0.98);
  EXPECT_EQ(plans.plan(2)->quality(), std::nullopt) << "not measured";
  EXPECT_EQ(plans.plan(1)->dsla(2), chain.layers[0].get());
  EXPECT_EQ(plans.plan(1)->dsla(0), nullptr);

  const auto before = plans.plan(2);
  ASSERT_TRUE(plans.extend(*weights, 3).ok());
  ASSERT_EQ(plans.largest(), 3);
  EXPECT_EQ(plans.plan(2), before) << "the same object";
  EXPECT_EQ(plans.plan(3)->dsla(2), chain.layers[0].get());
  EXPECT_EQ(plans.plan(3)->dsla(0), chain.layers[1].get());
  EXPECT_FALSE(plans.plan(3)->dsla(4)->distilled);
  EXPECT_EQ(plans.plan(3)->dsla(1), nullptr);
  EXPECT_FALSE(plans.extend(*weights, 6).ok());
  EXPECT_EQ(plans.largest(), 3) << "nothing has changed";
}

}  // namespace
}  // namespace dslad::worker
