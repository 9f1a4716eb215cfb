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

  std::shared_ptr<const ModelWeights> weights_ = golden_weights("stories260K", kernels::WeightFormat::kF32);
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
    weights_ = *load_weights(model_.path(), kernels::WeightFormat::kF32);
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

TEST_F(PlanControlOverAChain, SaysOfLayersThatItLacksWhatItIsTold) {
  control_->mark({1, LayerState::kDistilling, std::nullopt, ""});
  control_->mark({3, LayerState::kFailed, 0.8, "not good enough"});
  control_->mark({0, LayerState::kFailed, 0.8, "it has that one"});
  auto layers = control_->table().layer_info;
  EXPECT_EQ(layers[1].state, LayerState::kDistilling);
  EXPECT_EQ(layers[3].state, LayerState::kFailed);
  EXPECT_EQ(layers[3].quality, 0.8);
  EXPECT_FALSE(layers[3].distilled);
  EXPECT_EQ(layers[0].state, LayerState::kDistilled);
  control_->mark({4, LayerState::kPlanned, std::nullopt, ""});
  EXPECT_EQ(control_->layers()[4].state, LayerState::kFailed) << "what is known of it says more";
  model_.damage(2);  // and so repairs it
  ASSERT_TRUE(control_->replace(load_chain(model_.path(), *weights_)));
  EXPECT_EQ(control_->layers()[1].state, LayerState::kDistilling) << "another chain without it";
  control_->mark({1, LayerState::kTransformer, std::nullopt, ""});
  EXPECT_EQ(control_->layers()[1].state, LayerState::kTransformer);
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

TEST_F(PlanControlOverAChain, OffersThePlansThereAreWithWhatASequenceTakes) {
  const auto table = control_->table();
  EXPECT_EQ(table.edition.size(), 32u);
  ASSERT_EQ(table.plans.size(), 3u) << "0, 1 and 2";
  EXPECT_EQ(table.plans[1].plan, 1u);
  EXPECT_EQ(table.plans[1].quality, 0.98);
  EXPECT_EQ(table.plans[2].quality, std::nullopt);
  const LlamaConfig& c = weights_->config;
  const std::uint64_t layer_bytes = std::uint64_t{2} * c.kv_heads * c.head_dim * sizeof(float);
  EXPECT_EQ(table.plans[0].kv_bytes_per_token, 5 * layer_bytes);
  EXPECT_EQ(table.plans[2].kv_bytes_per_token, 3 * layer_bytes);
  EXPECT_EQ(table.plans[0].state_bytes, 0u);
  EXPECT_EQ(table.plans[2].state_bytes, 2 * table.plans[1].state_bytes);
  EXPECT_EQ(table.layer_info.size(), 5u);

  ASSERT_FALSE(control_->change({1, 3, true, "a test"}).error.has_value());
  EXPECT_EQ(control_->table().plans.size(), 4u) << "an undistilled one was prepared";
  EXPECT_EQ(control_->table().plan, 3u);
}

TEST_F(PlanControlOverAChain, AJobGetsThePlanItWasGivenOrTheLargestBelow) {
  ASSERT_FALSE(control_->change({1, 1, false, "a test"}).error.has_value());
  EXPECT_EQ(control_->plan_for(std::nullopt)->number(), 1);
  EXPECT_EQ(control_->plan_for(0)->number(), 0);
  EXPECT_EQ(control_->plan_for(2)->number(), 2);
  EXPECT_EQ(control_->plan_for(5)->number(), 2);
}

// Plan 1 has 0.98 of plan 0's quality, plan 2 was not measured.
TEST_F(PlanControlOverAChain, AJobGetsNoPlanBelowTheQualityThatItMustHave) {
  EXPECT_EQ(control_->plan_for(2, 0.0)->number(), 2);
  EXPECT_EQ(control_->plan_for(2, 0.98)->number(), 1);
  EXPECT_EQ(control_->plan_for(2, 0.981)->number(), 0);
  EXPECT_EQ(control_->plan_for(0, 1.0)->number(), 0);
}

TEST_F(PlanControlOverAChain, APlanThatFailedIsWithdrawnWithAllLargerOnes) {
  ASSERT_FALSE(control_->change({1, 2, false, "a test", 4}).error.has_value());
  const auto failed = control_->in_force();
  EXPECT_TRUE(control_->withdraw(*failed, "it gave no numbers"));
  EXPECT_EQ(control_->in_force()->number(), 1);
  EXPECT_EQ(control_->plan_for(2)->number(), 1);
  const auto table = control_->table();
  ASSERT_EQ(table.plans.size(), 2u);
  EXPECT_EQ(table.plan, 1u);
  EXPECT_EQ(table.layer_info[2].state, LayerState::kActive);
  EXPECT_EQ(table.layer_info[0].state, LayerState::kFailed);
  EXPECT_FALSE(table.layer_info[0].distilled) << "nothing that can be used";
  EXPECT_EQ(table.layer_info[4].state, LayerState::kTransformer) << "plans stop before it";

  for (const bool allow_undistilled : {false, true}) {
    for (const std::uint32_t plan : {2u, 3u}) {
      const auto result = control_->change({2, plan, allow_undistilled, "a test", 5});
      ASSERT_TRUE(result.error.has_value());
      EXPECT_EQ(result.error->code, ErrorCode::kRefused);
      EXPECT_NE(result.error->message.find("it gave no numbers"), std::string::npos) << result.error->message;
      EXPECT_EQ(result.generation, 4u);
    }
  }
  EXPECT_FALSE(control_->change({3, 0, false, "a test", 5}).error.has_value());
  EXPECT_EQ(control_->layers()[0].state, LayerState::kFailed);
}

TEST_F(PlanControlOverAChain, ASmallerPlanThatFailsTooIsWithdrawnAsWell) {
  ASSERT_FALSE(control_->change({1, 2, false, "a test"}).error.has_value());
  const auto plan_1 = control_->plans().plan(1), plan_2 = control_->plans().plan(2);
  EXPECT_TRUE(control_->withdraw(*plan_2, "it gave no numbers"));
  EXPECT_FALSE(control_->withdraw(*plan_2, "it gave no numbers")) << "of a job that was still running on it";
  EXPECT_TRUE(control_->withdraw(*plan_1, "it gave no numbers"));
  EXPECT_FALSE(control_->withdraw(*control_->in_force(), "it gave no numbers")) << "plan 0";
  EXPECT_EQ(control_->in_force()->number(), 0);
  EXPECT_EQ(control_->layers()[2].state, LayerState::kFailed);
  EXPECT_NE(control_->layers()[0].state, LayerState::kFailed) << "nothing is known against it";
}

// A chain of three layers in another order takes the place of one whose plans end at 2.
class ReplacedChain : public PlanControlOverAChain {
 protected:
  [[nodiscard]] LoadedChain another(int layers = 3) const {
    const testing::ChainedModel other("stories260K", {4, 2, 1, 0, 3}, layers);
    return load_chain(other.path(), *weights_);
  }
};

TEST_F(ReplacedChain, GivesNewJobsItsPlansWhileOldOnesKeepTheirs) {
  ASSERT_FALSE(control_->change({1, 2, false, "a test", 7}).error.has_value());
  const auto old_plan = control_->in_force();
  const auto alone = [&](const std::shared_ptr<const Plan>& plan) {
    const auto engine = engine_over(weights_);
    EXPECT_TRUE(engine->add(continuation(1, {1, 403, 407, 261, 378}, 60, plan)).ok());
    Collector sink;
    run_to_end(*engine, sink);
    return sink.answers[{1, 0}];
  };
  const auto before = alone(old_plan);
  const auto engine = engine_over(weights_);
  Collector sink;
  ASSERT_TRUE(engine->add(continuation(1, {1, 403, 407, 261, 378}, 60, old_plan)).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(engine->step(sink).ok());

  ASSERT_TRUE(control_->replace(another()).ok());
  const auto new_plan = control_->in_force();
  EXPECT_EQ(new_plan->number(), 2) << "the same as before";
  EXPECT_NE(new_plan->edition(), old_plan->edition());
  EXPECT_EQ(control_->plans().largest(), 3);
  EXPECT_EQ(control_->layers()[4].state, LayerState::kActive);
  EXPECT_EQ(control_->layers()[0].state, LayerState::kTransformer) << "not of the new order's first three";
  EXPECT_EQ(control_->change({2, 1, false, "a test", 6}).generation, 7u) << "generations go on";

  ASSERT_TRUE(engine->add(continuation(2, {1, 403, 407, 261, 378}, 60, new_plan)).ok());
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}]), before);
  EXPECT_EQ((sink.answers[{2, 0}]), alone(new_plan));
}

TEST_F(ReplacedChain, WithFewerLayersPutsItsLargestPlanInForce) {
  ASSERT_FALSE(control_->change({1, 2, false, "a test"}).error.has_value());
  ASSERT_TRUE(control_->replace(another(1)).ok());
  EXPECT_EQ(control_->in_force()->number(), 1);
}

TEST_F(ReplacedChain, HasAllOfItsPlansWhateverWasWithdrawnOfTheOldOne) {
  ASSERT_FALSE(control_->change({1, 2, false, "a test"}).error.has_value());
  const auto old_plan = control_->plans().plan(1);
  EXPECT_TRUE(control_->withdraw(*old_plan, "it gave no numbers"));
  ASSERT_TRUE(control_->replace(another()).ok());
  EXPECT_EQ(control_->plans().largest(), 3);
  EXPECT_FALSE(control_->withdraw(*old_plan, "it gave no numbers")) << "of the edition before";
  EXPECT_FALSE(control_->change({2, 3, false, "a test"}).error.has_value());
}

void expect_refused(PlanControl& control, LoadedChain chain, const std::string& file) {
  const auto before = control.in_force();
  const Status replaced = control.replace(std::move(chain));
  ASSERT_FALSE(replaced.ok());
  EXPECT_EQ(replaced.error().code, ErrorCode::kRefused);
  EXPECT_NE(replaced.error().message.find(file), std::string::npos) << replaced.error().message;
  EXPECT_NE(replaced.error().message.find("stays in force"), std::string::npos) << replaced.error().message;
  EXPECT_EQ(control.in_force(), before);
  EXPECT_EQ(control.table().chain_fault, replaced.error().message);
}

TEST_F(ReplacedChain, ThatIsDamagedLeavesTheOldOneInForce) {
  const testing::ChainedModel damaged("stories260K", {4, 2, 1, 0, 3}, 3);
  damaged.damage(2);
  expect_refused(*control_, load_chain(damaged.path(), *weights_), damaged.file(2).string());
  ASSERT_TRUE(control_->replace(another()).ok());
  EXPECT_EQ(control_->table().chain_fault, "");
}

TEST_F(ReplacedChain, ThatGivesWayToTheOneInForceIsForgotten) {
  ASSERT_TRUE(control_->replace(another()).ok());
  const auto withdrawn = control_->plans().plan(2), in_force = control_->plans().plan(1);
  ASSERT_TRUE(control_->withdraw(*withdrawn, "it gave no numbers"));
  const testing::ChainedModel damaged("stories260K", {4, 2, 1, 0, 3}, 3);
  damaged.damage(2);
  expect_refused(*control_, load_chain(damaged.path(), *weights_), damaged.file(2).string());
  ASSERT_TRUE(control_->replace(another()).ok());
  EXPECT_EQ(control_->table().chain_fault, "");
  EXPECT_EQ(control_->plans().plan(1), in_force) << "the same objects";
  EXPECT_EQ(control_->plans().largest(), 1) << "what was withdrawn stays so";
}

TEST_F(ReplacedChain, OfAnotherTeacherLeavesTheOldOneInForce) {
  testing::ChainedModel other("stories260K", {4, 2, 1, 0, 3}, 3);
  other.manifest.teacher_digest = "00000000000000000000000000000000";
  other.save();
  expect_refused(*control_, load_chain(other.path(), *weights_), (other.chain() / "chain.json").string());
}

}  // namespace
}  // namespace dslad::worker
