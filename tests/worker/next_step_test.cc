#include "worker/idle/next_step.h"

#include <gtest/gtest.h>

namespace dslad::worker {
namespace {

// A chain of the order 2, 0, 1 with its first layers distilled, and plans measured as far as `qualities` go.
ChainManifest chain(int layers, std::vector<std::optional<double>> qualities = {}) {
  ChainManifest made;
  made.teacher_digest = "teacher";
  made.layers = 3;
  made.order = {2, 0, 1};
  for (int position = 0; position < layers; ++position) {
    const int layer = made.order[static_cast<std::size_t>(position)];
    made.distilled.push_back({layer, "file", std::to_string(layer), nlohmann::json::object()});
  }
  for (std::size_t i = 0; i < qualities.size(); ++i) {
    made.plans.push_back({static_cast<int>(i) + 1, 0.25, 1.0, qualities[i], {{"exam", 1}}});
  }
  return made;
}

class NextStep : public ::testing::Test {
 protected:
  NextStep() {
    facts_.recipe = "recipe";
    facts_.measurement = "exam";
    facts_.layers = 3;
    facts_.min_quality = 0.95;
  }
  void begun(std::optional<int> keep) { facts_.record = StageRecord{keep, "recipe", "exam"}; }
  IdleStep next() const { return next_step(facts_); }
  template <typename Step>
  Step next_is() const {
    const IdleStep step = next();
    EXPECT_TRUE(std::holds_alternative<Step>(step)) << "step " << step.index();
    return std::holds_alternative<Step>(step) ? std::get<Step>(step) : Step{};
  }

  IdleFacts facts_;
};

TEST_F(NextStep, BeginsWithWhatThereIs) {
  EXPECT_EQ(next(), IdleStep(BeginStage{std::nullopt, ""})) << "no chain";
  facts_.published = chain(0);
  EXPECT_EQ(next(), IdleStep(BeginStage{0, ""})) << "an order alone";
  facts_.published = chain(2);
  EXPECT_EQ(next(), IdleStep(BeginStage{2, ""}));
}

TEST_F(NextStep, DistilsUntilTheStageIsAheadOfTheChain) {
  begun(std::nullopt);
  EXPECT_EQ(next(), IdleStep(DistilLayer{std::nullopt, 1, std::nullopt})) << "the order is decided first";
  facts_.staged = chain(0);
  EXPECT_EQ(next(), IdleStep(DistilLayer{std::nullopt, 1, 2}));
  facts_.staged = chain(1);
  EXPECT_EQ(next(), IdleStep(MeasurePlan{1, 2}));
  facts_.staged = chain(1, {0.97});
  EXPECT_EQ(next(), IdleStep(PublishPlan{1, 2, 0.97}));
  facts_.published = facts_.staged;
  EXPECT_EQ(next(), IdleStep(DistilLayer{std::nullopt, 2, 0})) << "with the options that it began with";
}

TEST_F(NextStep, GoesOnFromAChainThatWasThere) {
  facts_.published = chain(1);
  begun(1);
  EXPECT_EQ(next(), IdleStep(DistilLayer{1, 2, 0}));
  facts_.staged = chain(1);
  EXPECT_EQ(next(), IdleStep(DistilLayer{1, 2, 0}));
  facts_.staged = chain(2, {0.99, 0.95});
  EXPECT_EQ(next(), IdleStep(PublishPlan{2, 0, 0.95})) << "the floor itself is good enough";
}

TEST_F(NextStep, EndsWithTheLayersThatAreWanted) {
  facts_.published = chain(2);
  facts_.layers = 2;
  EXPECT_EQ(next(), IdleStep(NothingLeft{}));
  facts_.layers = 1;
  EXPECT_EQ(next(), IdleStep(NothingLeft{}));
}

TEST_F(NextStep, APlanBelowTheFloorIsRejectedWithItsNumbers) {
  begun(std::nullopt);
  facts_.staged = chain(1, {0.9});
  const RejectPlan rejected = next_is<RejectPlan>();
  EXPECT_EQ(rejected.plan, 1);
  EXPECT_EQ(rejected.layer, 2);
  EXPECT_EQ(rejected.quality, 0.9);
  EXPECT_EQ(rejected.why, "plan 1 has quality 0.900 (kl 0.2500), below 0.950");
  facts_.min_quality = 0.9;
  EXPECT_EQ(next(), IdleStep(PublishPlan{1, 2, 0.9})) << "a lower floor";
  facts_.min_quality = 0.95;
  facts_.recipe = "another";
  EXPECT_EQ(next_is<BeginStage>().why, "the options, the texts or the version are others");
}

TEST_F(NextStep, APlanOfNoQualityIsBelowEveryFloorButZero) {
  begun(std::nullopt);
  facts_.staged = chain(1, {std::nullopt});
  EXPECT_NE(next_is<RejectPlan>().why.find("no quality"), std::string::npos);
  facts_.min_quality = 0;
  next_is<PublishPlan>();
}

TEST_F(NextStep, MeasuresAgainOnOtherFiles) {
  begun(std::nullopt);
  facts_.staged = chain(1, {0.9});
  facts_.record->measured = "another exam";
  EXPECT_EQ(next(), IdleStep(MeasurePlan{1, 2}));
}

TEST_F(NextStep, ALayerInWorkIsBegunAnewWithOtherTextsButAFinishedOneCounts) {
  facts_.published = chain(1);
  begun(1);
  facts_.staged = chain(1);
  facts_.recipe = "another";
  EXPECT_EQ(next(), IdleStep(BeginStage{1, "the options, the texts or the version are others"}));
  facts_.staged = chain(2, {0.99, 0.99});
  next_is<PublishPlan>();
}

TEST_F(NextStep, AChainThatWasReplacedIsBegunFromAnew) {
  const auto begins_with = [&](std::optional<int> keep) {
    const BeginStage begin = next_is<BeginStage>();
    return begin.keep == keep && begin.why == "the chain was replaced";
  };
  begun(1);
  EXPECT_TRUE(begins_with(std::nullopt)) << "it is gone";
  facts_.published = chain(2);
  EXPECT_TRUE(begins_with(2)) << "it has grown before the stage was copied";
  facts_.staged = chain(1);
  EXPECT_TRUE(begins_with(2)) << "it has grown";
  facts_.staged = chain(3);
  facts_.published->distilled[1].checksum = "another";
  EXPECT_TRUE(begins_with(2)) << "a layer is another";
  facts_.published = chain(2);
  facts_.published->order = {2, 0};
  EXPECT_TRUE(begins_with(2)) << "the order is another";
  facts_.published = chain(2);
  facts_.published->distilled[0].variant = facts_.published->variant;
  facts_.published->distilled[0].variant->window = 7;
  EXPECT_TRUE(begins_with(2)) << "a variant is another";
  begun(std::nullopt);
  facts_.staged.reset();
  facts_.published = chain(0);
  EXPECT_TRUE(begins_with(0)) << "there was none, and now there is an order";
}

TEST_F(NextStep, LayersToComeAreThoseOfTheOrderUpToTheNumberThatIsWanted) {
  const auto to_come = [&] { return layers_to_come(facts_, next()); };
  using Layers = std::vector<int>;
  EXPECT_EQ(to_come(), Layers{}) << "nothing has begun";
  begun(std::nullopt);
  EXPECT_EQ(to_come(), Layers{}) << "the order is not decided yet";
  facts_.staged = chain(0);
  EXPECT_EQ(to_come(), (Layers{2, 0, 1}));
  facts_.layers = 2;
  EXPECT_EQ(to_come(), (Layers{2, 0}));
  facts_.staged = chain(1);
  EXPECT_EQ(to_come(), (Layers{2, 0})) << "it is still to be measured";
  facts_.published = facts_.staged = chain(1, {0.97});
  EXPECT_EQ(to_come(), Layers{0});
  facts_.published = chain(2);
  EXPECT_EQ(to_come(), Layers{}) << "all are distilled";
}

TEST_F(NextStep, LayersToComeOfAStageThatIsBegunAnewFollowTheChainThatServes) {
  facts_.recipe = "another";
  begun(std::nullopt);
  facts_.staged = chain(0);
  facts_.record->recipe = "recipe";
  EXPECT_EQ(layers_to_come(facts_, next_is<BeginStage>()), std::vector<int>{})
      << "they may come in another order";
  facts_.published = chain(1);
  facts_.record.reset();
  EXPECT_EQ(layers_to_come(facts_, next_is<BeginStage>()), (std::vector<int>{0, 1}));
}

TEST_F(NextStep, NoLayerIsToComeBehindOneThatIsNotGoodEnough) {
  begun(std::nullopt);
  facts_.staged = chain(1, {0.5});
  EXPECT_EQ(layers_to_come(facts_, next_is<RejectPlan>()), std::vector<int>{});
}

TEST_F(NextStep, OnDocumentsAloneALayerIsBegunOnceThereAreSome) {
  facts_.has_texts = false;
  facts_.recent_bytes = kLeastRecentBytes - 1;
  EXPECT_EQ(next(), IdleStep(AwaitDocuments{}));
  facts_.has_texts = true;
  EXPECT_EQ(next(), IdleStep(BeginStage{std::nullopt, ""})) << "there are others";
  facts_.has_texts = false;
  facts_.recent_bytes = kLeastRecentBytes;
  EXPECT_EQ(next(), IdleStep(BeginStage{std::nullopt, ""}));
}

TEST_F(NextStep, DocumentsThatComeLaterAreForTheNextLayer) {
  facts_.has_texts = false;
  facts_.recent_bytes = 100 * kLeastRecentBytes;
  facts_.frozen = true;
  begun(std::nullopt);
  facts_.record->recent_bytes = kLeastRecentBytes;
  facts_.staged = chain(0);
  EXPECT_EQ(next(), IdleStep(DistilLayer{std::nullopt, 1, 2}));
  facts_.staged = chain(1, {0.97});
  EXPECT_EQ(next(), IdleStep(PublishPlan{1, 2, 0.97}));
  facts_.published = facts_.staged;
  EXPECT_EQ(next(), IdleStep(BeginStage{1, ""}));
  facts_.recent_bytes = 0;
  EXPECT_EQ(next(), IdleStep(AwaitDocuments{}));
  EXPECT_EQ(layers_to_come(facts_, next()), (std::vector<int>{0, 1})) << "once there are documents";
  begun(1);
  EXPECT_EQ(next(), IdleStep(DistilLayer{1, 2, 0})) << "on those that it has";
}

TEST_F(NextStep, ALayerWhoseDocumentsAreGoneIsBegunAnewButAFinishedOneCounts) {
  begun(std::nullopt);
  facts_.record->recent_bytes = kLeastRecentBytes;
  facts_.staged = chain(0);
  EXPECT_EQ(next(), IdleStep(BeginStage{std::nullopt, "its documents are gone"}));
  facts_.staged = chain(1, {0.97});
  next_is<PublishPlan>();
}

TEST_F(NextStep, ALayerThatFailedIsTriedAgainOnTwiceAsManyDocuments) {
  facts_.frozen = true;
  begun(std::nullopt);
  facts_.record->recent_bytes = kLeastRecentBytes;
  facts_.staged = chain(1, {0.9});
  facts_.recent_bytes = 2 * kLeastRecentBytes - 1;
  next_is<RejectPlan>();
  facts_.recent_bytes = 2 * kLeastRecentBytes;
  EXPECT_EQ(next(), IdleStep(BeginStage{std::nullopt, "there are twice as many recent documents"}));
}

}  // namespace
}  // namespace dslad::worker
