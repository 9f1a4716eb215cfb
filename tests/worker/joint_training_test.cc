// Layers that learn beside each other from one pass of the teacher: as each would by itself, stopped or not.
#include <fstream>
#include <gtest/gtest.h>
#include <map>

#include "tests/sanitized.h"
#include "tests/worker/distil_run.h"
#include "worker/distill/held_out.h"
#include "worker/distill/joint_stage.h"
#include "worker/distill/sensitivity.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::read_text;
using Students = std::vector<std::unique_ptr<StudentLayer>>;

class JointTest : public DistilRun {
 protected:
  JointTest() {
    teacher_ = *load_teacher(model_, *backend_, DType::kF32);
    network_ = std::make_unique<Network>(*backend_, teacher_, DType::kF32, variant_);
  }

  std::unique_ptr<StudentLayer> student(int layer, const DslaVariant& variant) {
    const auto initial = initial_dsla_layer(*files_, teacher_->config, layer, variant);
    return *StudentLayer::create(*backend_, teacher_->config, layer, variant, *initial);
  }

  const std::unique_ptr<kernels::TrainingBackend> backend_ = kernels::make_cpu_training_backend(2);
  std::shared_ptr<const Teacher> teacher_;
  std::unique_ptr<Network> network_;
};

std::vector<DslaVariant> some_variants() {
  DslaVariant rich = *named_variant("dslad");
  rich.window = 5;
  rich.feature_map = kernels::FeatureMap::kSoftmaxPair;
  DslaVariant unrotated = rich;
  unrotated.rotary = false;
  unrotated.expand_k = 2;
  DslaVariant delta = unrotated;
  delta.states = 1;
  delta.delta = true;
  return {*named_variant("paper"), rich, unrotated, delta};
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return most;
}

double largest(std::span<const float> values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

TEST_F(JointTest, EachLayerHasTheLossAndTheGradientThatItHasAlone) {
  const StudentLayers none(5);
  const TrainingBatch& batch = training_.front();
  for (const DslaVariant& variant : some_variants()) {
    network_ = std::make_unique<Network>(*backend_, teacher_, DType::kF32, variant);
    for (const LayerTarget target : {LayerTarget::kAttentionOutput, LayerTarget::kHiddenState}) {
      for (const std::vector<int>& layers : {std::vector{0, 1, 2, 3, 4}, {1, 3}, {4}, {0}}) {
        Students beside(5);
        TrainedLayers learning(5);
        for (const int layer : layers) {
          const auto at = static_cast<std::size_t>(layer);
          beside[at] = student(layer, variant);
          learning[at] = beside[at].get();
        }
        const auto losses = network_->train_beside_teacher(batch, learning, target, 0.5);
        ASSERT_TRUE(losses.ok()) << losses.error().message;
        for (const int layer : layers) {
          const auto at = static_cast<std::size_t>(layer);
          const auto alone = student(layer, variant);
          const auto loss = network_->train_layerwise(batch, none, *alone, target, 0.5);
          ASSERT_TRUE(loss.ok());
          EXPECT_NEAR((*losses)[at] / *loss, 1.0, 1e-6) << layer;
          EXPECT_LE(largest_difference(beside[at]->gradient_array(), alone->gradient_array()),
                    1e-5 * largest(alone->gradient_array()))
              << layer;
        }
      }
    }
  }
}

TEST_F(JointTest, WhatALayerLearnsDoesNotDependOnTheOthers) {
  const TrainingBatch& batch = training_.front();
  const auto among = student(3, variant_), alone = student(3, variant_);
  const auto first = student(0, variant_), second = student(2, variant_);
  const auto losses = network_->train_beside_teacher(
      batch, {first.get(), nullptr, second.get(), among.get(), nullptr}, options_.target, 1.0);
  const auto own = network_->train_beside_teacher(batch, {nullptr, nullptr, nullptr, alone.get(), nullptr},
                                                  options_.target, 1.0);
  EXPECT_EQ((*losses)[3], (*own)[3]);
  EXPECT_EQ((*losses)[4], 0.0);
  EXPECT_TRUE(std::ranges::equal(among->gradient_array(), alone->gradient_array()));
}

TEST_F(JointTest, EveryLayerAloneIsMeasuredAsOneByOne) {
  Students students(5);
  StudentLayers measured(5);
  for (const int layer : {0, 2, 4}) {
    const auto at = static_cast<std::size_t>(layer);
    students[at] = student(layer, variant_);
    measured[at] = students[at].get();
  }
  const auto together = held_out_losses_alone(*network_, held_out_, 40, measured);
  ASSERT_TRUE(together.ok());
  for (std::size_t layer = 0; layer < 5; ++layer) {
    StudentLayers alone(5);
    alone[layer] = measured[layer];
    const auto one = held_out_losses(*network_, held_out_, 40, alone);
    if (alone[layer] == nullptr) continue;
    EXPECT_GT(one->kl, 0.0);
    EXPECT_EQ((*together)[layer].kl, one->kl) << layer;
    EXPECT_EQ((*together)[layer].ce, one->ce) << layer;
  }
}

TEST_F(JointTest, TheOrdersStudentsLearnAsEachWouldByItself) {
  options_.accumulation = 2;
  const auto alone =
      convert_alone(*backend_, *network_, *files_, {&options_, variant_, training_, held_out_, {}, nullptr});
  ASSERT_TRUE(alone.ok());
  const StageOptions& stage = options_.layerwise;
  const CosineSchedule schedule{stage.rate, stage.lowest_rate, stage.warm_up, stage.steps};
  for (int layer = 0; layer < 5; ++layer) {
    const auto own = student(layer, variant_);
    BatchSource source(training_, options_.batch_tokens, options_.seed);
    AdamW optimizer(options_.optimizer, own->value_array().size());
    std::int64_t tokens = 0;
    for (std::int64_t step = 0; step < stage.steps; ++step) {
      std::ranges::fill(own->gradient_array(), 0.0f);
      for (int pass = 0; pass < 2; ++pass) {
        const TrainingBatch batch = source.next();
        tokens += batch.rows();
        ASSERT_TRUE(network_->train_layerwise(batch, StudentLayers(5), *own, options_.target, 0.5).ok());
      }
      optimizer.step(own->value_array(), own->gradient_array(),
                     own->parameter_groups(options_.projection_rate), schedule.at(step));
      own->refresh();
    }
    EXPECT_EQ(alone->tokens, tokens);
    const auto values = alone->students[static_cast<std::size_t>(layer)]->value_array();
    EXPECT_LE(largest_difference(values, own->value_array()), 1e-3 * largest(own->value_array())) << layer;
    EXPECT_GT(largest_difference(values, student(layer, variant_)->value_array()), 1e-2);
  }
}

// Chains whose layers learn beside each other first.
class JointChainTest : public JointTest {
 protected:
  JointChainTest() { options_.joint_layerwise = true; }

  static bool joint_files(const std::filesystem::path& dir) {
    return std::ranges::any_of(std::filesystem::directory_iterator(dir), [](const auto& entry) {
      return entry.path().filename().string().starts_with("joint");
    });
  }
};

TEST_F(JointChainTest, TrainsEveryLayerToComeAtOnceAndThenOneByOne) {
  options_.layerwise.steps = 30;
  options_.chained.steps = 20;
  options_.losses = {0.0, 0.0, 1.0};  // the labels are random: nothing to learn from them
  const auto dir = folder_.path() / "dsla";
  const Status done = run(dir, 3);
  ASSERT_TRUE(done.ok()) << done.error().message;
  std::vector<std::pair<int, std::string>> stages;  // of steps, without repetitions but for the joint ones'
  std::map<int, int> layerwise;
  for (const std::string& line : logged(dir)) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("step")) continue;
    const std::pair stage(json["layer"].get<int>(), json["stage"].get<std::string>());
    if (stage.second == "layerwise") ++layerwise[stage.first];
    if (stages.empty() || stages.back() != stage) stages.push_back(stage);
  }
  EXPECT_EQ(layerwise, (std::map<int, int>{{0, 30}, {1, 30}, {3, 30}}));
  ASSERT_EQ(stages.size(), 93u);  // by layer in each step, then layer by layer
  EXPECT_EQ(stages[90], std::pair(3, std::string("chained")));
  EXPECT_EQ(stages[91], std::pair(1, std::string("chained")));
  EXPECT_EQ(stages[92], std::pair(0, std::string("chained")));
  const auto manifest = *load_chain_manifest(dir);
  ASSERT_EQ(manifest.distilled.size(), 3u);
  for (const DistilledLayer& layer : manifest.distilled) {
    const double initial = layer.losses["initialised"]["kl"], beside = layer.losses["layerwise"]["kl"],
                 chained = layer.losses["chained"]["kl"];
    EXPECT_LT(beside, initial) << layer.layer;
    EXPECT_LE(chained, beside) << layer.layer;
  }
  EXPECT_FALSE(joint_files(dir));
}

TEST_F(JointChainTest, ARunStoppedAtAnyStepGoesOnToTheSameLossesAndFiles) {
  const auto whole = folder_.path() / "whole";
  ASSERT_TRUE(run(whole, 3).ok());
  for (const int stop : dslad::testing::sample(std::vector{1, 3, 5, 6, 7, 11, 12, 16}, 3)) {
    const auto parts = folder_.path() / ("stop" + std::to_string(stop));
    const Status stopped = run(parts, 3, stop);
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.error().code, ErrorCode::kUnavailable);
    ASSERT_TRUE(joint_files(parts));
    ASSERT_TRUE(run(parts, 3).ok());
    EXPECT_EQ(logged(parts), logged(whole)) << stop;
    for (const char* file :
         {"layer-03.safetensors", "layer-01.safetensors", "layer-00.safetensors", "chain.json"}) {
      EXPECT_EQ(read_text(parts / file), read_text(whole / file)) << file << " after " << stop;
    }
  }
}

TEST_F(JointChainTest, ALongerChainTrainsTheLayersThatCameLaterBesideEachOther) {
  const auto dir = folder_.path() / "dsla", whole = folder_.path() / "whole";
  ASSERT_TRUE(run(dir, 1).ok());
  EXPECT_FALSE(joint_files(dir));
  ASSERT_FALSE(run(dir, 3, 2).ok());  // in the stage of layers 1 and 0
  EXPECT_EQ((*load_joint_state(dir, Stage::kLayerwise))->layers, (std::vector<int>{0, 1}));
  ASSERT_TRUE(run(dir, 4).ok());  // goes on with those two, then 4 has a stage of its own
  ASSERT_TRUE(run(whole, 4).ok());
  for (const char* file : {"layer-03.safetensors", "layer-01.safetensors", "layer-00.safetensors",
                           "layer-04.safetensors", "chain.json"}) {
    EXPECT_EQ(read_text(dir / file), read_text(whole / file)) << file;
  }
  EXPECT_FALSE(joint_files(dir));
}

TEST_F(JointChainTest, TheOrdersStudentsAreWhatTheStageWouldHaveMade) {
  const auto whole = folder_.path() / "whole", kept = folder_.path() / "kept";
  ASSERT_TRUE(run(whole, 2).ok());
  const auto alone =
      convert_alone(*backend_, *network_, *files_, {&options_, variant_, training_, held_out_, {}, nullptr});
  ASSERT_TRUE(alone.ok());
  TrainedLayers students;
  for (const auto& each : alone->students) students.push_back(each.get());
  std::filesystem::create_directories(kept);
  ASSERT_TRUE(keep_joint_students(kept, students, alone->tokens).ok());
  ASSERT_TRUE(run(kept, 2).ok());
  for (const char* file : {"layer-03.safetensors", "layer-01.safetensors", "chain.json"}) {
    EXPECT_EQ(read_text(kept / file), read_text(whole / file)) << file;
  }
  EXPECT_TRUE(joint_files(kept));  // three layers may yet come
  EXPECT_TRUE(run(kept, 5).ok());
  EXPECT_FALSE(joint_files(kept));
}

TEST_F(JointChainTest, AStageThatRaisesALayersDivergenceIsUndoneForThisLayer) {
  options_.layerwise = {4, 0.5, 0.5, 0};  // a rate that leads astray
  options_.chained.steps = 0;
  const auto dir = folder_.path() / "dsla", kept = folder_.path() / "kept";
  ASSERT_TRUE(run(dir, 2).ok());
  options_.undo_worse = false;
  ASSERT_TRUE(run(kept, 2).ok());
  const auto undone = *load_chain_manifest(dir);
  int worse = 0;
  for (const DistilledLayer& layer : undone.distilled) {
    EXPECT_LE(layer.losses["layerwise"]["kl"], layer.losses["initialised"]["kl"]);
    if (!layer.losses["layerwise"].contains("undone_kl")) continue;
    ++worse;
    EXPECT_EQ(layer.losses["layerwise"]["kl"], layer.losses["initialised"]["kl"]);
    EXPECT_GT(layer.losses["layerwise"]["undone_kl"], layer.losses["initialised"]["kl"]);
  }
  EXPECT_GT(worse, 0);
  EXPECT_NE(read_text(kept / "layer-03.safetensors"), read_text(dir / "layer-03.safetensors"));
}

TEST_F(JointChainTest, LayersMayHaveVariantsOfTheirOwn) {
  DslaVariant wide = variant_;
  wide.name = "wide";
  wide.feature_map = kernels::FeatureMap::kSoftmaxPair;
  DslaVariant delta = variant_;
  delta.name = "delta";
  delta.states = 1;
  delta.delta = true;
  const DslaVariant held = widest(widest(variant_, wide), delta);
  network_ = std::make_unique<Network>(*backend_, teacher_, DType::kF32, held);
  const auto dir = folder_.path() / "dsla";
  std::filesystem::create_directories(dir);
  ChainManifest manifest = fresh(*teacher_);
  ChainSetup setup;
  setup.training = {&options_, training_, held_out_, {}, dir, 0.0, {}, nullptr, {}};
  setup.weights = files_.get();
  setup.layers = 3;
  setup.layer_variants = {{1, wide}, {manifest.order[2], delta}};
  const Status done = distil_chain(*backend_, *network_, setup, manifest);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(manifest.distilled[1].variant, wide);
  EXPECT_EQ(manifest.distilled[2].variant, delta);
}

TEST_F(JointChainTest, ALossThatIsNotFiniteStopsAndSaysWhere) {
  options_.layerwise.rate = options_.layerwise.lowest_rate = 1e30;
  const auto dir = folder_.path() / "dsla";
  const Status done = run(dir, 2);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::kInternal);
  EXPECT_NE(done.error().message.find("stage layerwise"), std::string::npos) << done.error().message;
  EXPECT_NE(done.error().message.find("layer 1, step"), std::string::npos) << done.error().message;
  EXPECT_TRUE(joint_files(dir));
}

TEST_F(JointChainTest, ADamagedCheckpointOrOneOfAnotherShapeIsAnErrorThatNamesIt) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_FALSE(run(dir, 2, 3).ok());
  variant_.form = LayerForm::kDslad;
  const Status other = run(dir, 2);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(other.error().message.find("joint.json"), std::string::npos) << other.error().message;
  std::ofstream(dir / "joint.json") << "{\"layers\": []}";
  const Status damaged = run(dir, 2);
  ASSERT_FALSE(damaged.ok());
  EXPECT_NE(damaged.error().message.find("joint.json"), std::string::npos) << damaged.error().message;
}

}  // namespace
}  // namespace dslad::worker
