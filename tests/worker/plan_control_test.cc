#include "worker/service/plan_control.h"

#include "tests/worker/chained_model.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using schema::LayerState;

class PlanControlTest : public ::testing::Test {
 protected:
  schema::PlanResult change(std::uint32_t plan, bool allow_undistilled) {
    return control_.change({1, plan, allow_undistilled, "a test"});
  }

  std::shared_ptr<const ModelWeights> weights_ = golden_weights("stories260K", kernels::DType::kF32);
  PlanControl control_{weights_, load_chain(golden("stories260K"), *weights_)};
};

TEST_F(PlanControlTest, RefusesLayersThatWereNeverDistilled) {
  const auto result = change(2, false);
  ASSERT_TRUE(result.error.has_value());
  EXPECT_EQ(result.error->code, ErrorCode::kRefused);
  EXPECT_EQ(control_.in_force()->number(), 0);
  EXPECT_EQ(control_.plans().largest(), 0) << "nothing has changed";
}

TEST_F(PlanControlTest, RefusesMoreLayersThanThereAre) {
  EXPECT_EQ(change(6, true).error->code, ErrorCode::kInvalidArgument);
}

TEST_F(PlanControlTest, ConvertsAndRevertsByTheOrderAndSaysWhatChanged) {
  const auto up = change(2, true);
  ASSERT_FALSE(up.error.has_value());
  EXPECT_EQ(up.plan, 2u);
  ASSERT_EQ(up.changes.size(), 2u);
  EXPECT_EQ(up.changes[1].layer, 1u);
  EXPECT_EQ(up.changes[1].from, LayerState::kTransformer);
  EXPECT_EQ(up.changes[1].to, LayerState::kActive);
  EXPECT_EQ(up.changes[1].reason, "a test");

  const auto down = change(1, true);
  ASSERT_EQ(down.changes.size(), 1u);
  EXPECT_EQ(down.changes[0].layer, 1u);
  EXPECT_EQ(down.changes[0].to, LayerState::kReverted);
  EXPECT_EQ(down.layer_info[0].state, LayerState::kActive);
  EXPECT_EQ(down.layer_info[2].state, LayerState::kTransformer);

  EXPECT_TRUE(change(1, true).changes.empty()) << "the plan it already has";
}

TEST_F(PlanControlTest, KeepsThePlanOfTheHighestGeneration) {
  const auto newer = control_.change({1, 2, true, "a test", 5});
  EXPECT_EQ(newer.generation, 5u);
  const auto older = control_.change({2, 1, true, "a test", 4});
  EXPECT_FALSE(older.error.has_value());
  EXPECT_EQ(older.request, 2u);
  EXPECT_EQ(older.plan, 2u);
  EXPECT_EQ(older.generation, 5u);
  EXPECT_TRUE(older.changes.empty());
  EXPECT_TRUE(control_.change({3, 9, true, "a test", 6}).error.has_value());
  EXPECT_EQ(control_.change({4, 0, true, "a test", 5}).plan, 0u)
      << "a refused change leaves its generation unused";
}

// Three layers of the order 2, 0, 4, 1, 3 are distilled; the third one's file is damaged.
class PlanControlOverAChain : public ::testing::Test {
 protected:
  PlanControlOverAChain() {
    model_.manifest.evidence = {{2, AttentionEntropy{4.25, 0.5, 4.0, {}}, 0.005}, {1, std::nullopt, 0.3}};
    model_.manifest.plans = {{0, 0.0, 1.0, 1.0, nlohmann::json::object()},
                             {1, 0.01, 1.02, 0.98, nlohmann::json::object()}};
    model_.save();
    model_.damage(2);
    weights_ = *load_weights(model_.path(), kernels::DType::kF32);
    control_ = std::make_unique<PlanControl>(weights_, load_chain(model_.path(), *weights_));
  }

  testing::ChainedModel model_{"stories260K", {2, 0, 4, 1, 3}, 3};
  std::shared_ptr<const ModelWeights> weights_;
  std::unique_ptr<PlanControl> control_;
};

TEST_F(PlanControlOverAChain, ConvertsDistilledLayersInItsOrder) {
  const auto result = control_->change({1, 2, false, "a test"});
  ASSERT_FALSE(result.error.has_value()) << result.error->message;
  EXPECT_EQ(result.plan, 2u);
  ASSERT_EQ(result.changes.size(), 2u);
  EXPECT_EQ(result.changes[0].layer, 0u);
  EXPECT_EQ(result.changes[0].from, LayerState::kDistilled);
  EXPECT_EQ(result.changes[1].layer, 2u);
}

TEST_F(PlanControlOverAChain, StopsBeforeTheDamagedLayerAndSaysWhy) {
  const auto result = control_->change({1, 3, false, "a test"});
  ASSERT_TRUE(result.error.has_value());
  EXPECT_EQ(result.error->code, ErrorCode::kRefused);
  EXPECT_NE(result.error->message.find("layer 4"), std::string::npos) << result.error->message;
  EXPECT_NE(result.error->message.find(model_.file(2).string()), std::string::npos) << result.error->message;
  EXPECT_FALSE(control_->change({2, 3, true, "a test"}).error.has_value()) << "undistilled on request";
}

TEST_F(PlanControlOverAChain, ResultsNameEditionPlanAndItsQuality) {
  schema::JobMetrics metrics;
  describe(*control_->plans().plan(1), metrics);
  EXPECT_EQ(metrics.plan, 1u);
  EXPECT_EQ(metrics.quality, 0.98);
  EXPECT_EQ(metrics.edition.size(), 32u);
  describe(*control_->plans().plan(2), metrics);
  EXPECT_EQ(metrics.quality, std::nullopt) << "plan 2 was not measured";
  describe(*control_->plans().plan(0), metrics);
  EXPECT_EQ(metrics.quality, 1.0);

  const std::string edition = metrics.edition;
  model_.manifest.plans[1].quality = 0.97;
  model_.save();
  EXPECT_NE(load_chain(model_.path(), *weights_).edition, edition);
}

TEST_F(PlanControlOverAChain, ReportsWhatTheChainMeasured) {
  const auto layers = control_->layers();
  EXPECT_EQ(layers[2].order, 0);
  EXPECT_EQ(layers[2].state, LayerState::kDistilled);
  EXPECT_TRUE(layers[2].distilled);
  EXPECT_EQ(layers[2].entropy, 4.25);
  EXPECT_EQ(layers[2].kl, 0.005);
  EXPECT_EQ(layers[2].quality, 0.98);
  EXPECT_EQ(layers[0].quality, std::nullopt) << "plan 2 was not measured";
  EXPECT_EQ(layers[4].state, LayerState::kFailed);
  EXPECT_FALSE(layers[4].distilled);
  EXPECT_EQ(layers[1].state, LayerState::kTransformer);
  EXPECT_EQ(layers[1].kl, 0.3);
  EXPECT_EQ(layers[1].entropy, std::nullopt);
}

}  // namespace
}  // namespace dslad::worker
