// The chained stage of a whole chain at once: gradients as each layer has them alone, plans nearer to the
// teacher, stopped or not, and a folder that is whole at every moment.
#include "worker/distill/joint_chained.h"

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "tests/sanitized.h"
#include "tests/worker/distil_run.h"
#include "worker/distill/chain_source.h"
#include "worker/distill/joint_checkpoint.h"
#include "worker/distill/joint_stage.h"
#include "worker/distill/sensitivity.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::read_text;

class JointChainedTest : public DistilRun {
 protected:
  JointChainedTest() {
    options_.joint_layerwise = true;
    options_.joint_chained = true;
    options_.joint_plans = {1, 3};
    options_.losses = {0.0, 0.0, 1.0};  // the labels are random: nothing to learn from them
  }

  static std::vector<std::string> layer_files(const std::filesystem::path& dir) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(dir)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("layer-") || name.starts_with("joint")) out.push_back(name);
    }
    std::ranges::sort(out);
    return out;
  }

  std::unique_ptr<StudentLayer> student(kernels::TrainingBackend& backend, const LlamaConfig& config,
                                        int layer) {
    const auto initial = initial_dsla_layer(*files_, config, layer, variant_);
    return *StudentLayer::create(backend, config, layer, variant_, *initial);
  }
};

TEST_F(JointChainedTest, EveryLayerOfAPlanHasTheGradientThatItHasAloneAmongTheOthers) {
  const auto backend = kernels::make_cpu_training_backend(2);
  const auto teacher = *load_teacher(model_, *backend, DType::kF32);
  const TrainingBatch& batch = training_.front();
  const LossWeights weights{0.7, 0.0, 1.3};
  DslaVariant rich = *named_variant("dslad");
  rich.window = 5;
  for (const DslaVariant& variant : {variant_, rich}) {
    variant_ = variant;
    Network network(*backend, teacher, DType::kF32, variant);
    for (const std::vector<int>& plan : {std::vector{0, 1, 2, 3, 4}, {3, 1}, {4}, {0}}) {
      Students students(5);
      TrainedLayers learning(5);
      for (const int layer : plan) {
        const auto at = static_cast<std::size_t>(layer);
        students[at] = student(*backend, teacher->config, layer);
        learning[at] = students[at].get();
      }
      const auto together = network.train_plan(batch, learning, weights, 0.5);
      ASSERT_TRUE(together.ok()) << together.error().message;
      for (const int layer : plan) {
        StudentLayers others(learning.begin(), learning.end());
        others[static_cast<std::size_t>(layer)] = nullptr;
        const auto alone = student(*backend, teacher->config, layer);
        const auto losses = network.train_chained(batch, others, *alone, weights, 0.5);
        ASSERT_TRUE(losses.ok());
        EXPECT_EQ(together->ce, losses->ce);
        EXPECT_EQ(together->kl, losses->kl);
        EXPECT_TRUE(std::ranges::equal(students[static_cast<std::size_t>(layer)]->gradient_array(),
                                       alone->gradient_array()))
            << layer;
      }
    }
  }
}

TEST_F(JointChainedTest, ItsPlansComeNearerToTheTeacherAndAllAreMeasuredAnew) {
  options_.chained = {40, 3e-3, 1e-4, 4};
  const auto dir = folder_.path() / "dsla";
  const Status done = run(dir, 3);
  ASSERT_TRUE(done.ok()) << done.error().message;
  const auto manifest = *load_chain_manifest(dir);
  ASSERT_EQ(manifest.plans.size(), 3u);
  const auto& record = manifest.distilled.front().losses["joint_chained"];
  EXPECT_EQ(record["plans"], (std::vector<int>{1, 3}));
  EXPECT_EQ(record["steps"], 40);
  for (const std::size_t which : {0, 1}) {
    const double before = record["kl_before"][which], after = record["kl_after"][which];
    EXPECT_LT(after, before);
    EXPECT_EQ(manifest.quality_of(which == 0 ? 1 : 3)->kl, after);
  }
  // What each step trained, in turn.
  std::map<int, int> steps;
  for (const std::string& line : logged(dir)) {
    const auto json = nlohmann::json::parse(line);
    if (json.contains("plan")) ++steps[json["plan"].get<int>()];
    EXPECT_FALSE(json.contains("layer") && json.value("stage", "") == "chained") << line;
  }
  EXPECT_EQ(steps, (std::map<int, int>{{1, 20}, {3, 20}}));
  EXPECT_EQ(layer_files(dir),
            (std::vector<std::string>{"layer-00-joint.safetensors", "layer-01-joint.safetensors",
                                      "layer-03-joint.safetensors"}));
}

TEST_F(JointChainedTest, ARunStoppedAtAnyStepGoesOnToTheSameLossesAndFiles) {
  const auto whole = folder_.path() / "whole";
  ASSERT_TRUE(run(whole, 3).ok());
  for (const int stop : dslad::testing::sample(std::vector{5, 6, 7, 8, 10, 11}, 3)) {
    const auto parts = folder_.path() / ("stop" + std::to_string(stop));
    const Status stopped = run(parts, 3, stop);
    if (stop < 11) {
      ASSERT_FALSE(stopped.ok());
      EXPECT_EQ(stopped.error().code, ErrorCode::kUnavailable);
    }
    ASSERT_TRUE(run(parts, 3).ok());
    EXPECT_EQ(logged(parts), logged(whole)) << stop;
    EXPECT_EQ(layer_files(parts), layer_files(whole));
    for (const std::string& file : layer_files(whole)) {
      EXPECT_EQ(read_text(parts / file), read_text(whole / file)) << file << " after " << stop;
    }
    EXPECT_EQ(read_text(parts / "chain.json"), read_text(whole / "chain.json")) << stop;
  }
}

TEST_F(JointChainedTest, ARunStoppedAmidAStepOrAMeasurementGoesOnToTheSameFiles) {
  const auto whole = folder_.path() / "whole", parts = folder_.path() / "parts";
  ASSERT_TRUE(run(whole, 3).ok());
  bool done = false;
  for (int part = 1; part < 200 && !done; ++part) {
    std::atomic<bool> stop{false};
    std::jthread stopper([&] {  // a little later each time
      std::this_thread::sleep_for(std::chrono::milliseconds(4 * part));
      stop = true;
    });
    const Status status = run_until(parts, 3, stop, -1, &stop);
    done = status.ok();
    ASSERT_TRUE(done || status.error().code == ErrorCode::kUnavailable) << status.error().message;
  }
  ASSERT_TRUE(done);
  EXPECT_EQ(logged(parts), logged(whole));
  EXPECT_EQ(layer_files(parts), layer_files(whole));
  for (const std::string& file : layer_files(whole))
    EXPECT_EQ(read_text(parts / file), read_text(whole / file));
  EXPECT_EQ(read_text(parts / "chain.json"), read_text(whole / "chain.json"));
}

TEST_F(JointChainedTest, UntilItsEndTheChainOfBeforeCanBeServed) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_FALSE(run(dir, 3, 8).ok());  // in the stage: 6 steps of the layer-wise one came before
  const auto manifest = *load_chain_manifest(dir);
  ASSERT_EQ(manifest.distilled.size(), 3u);
  EXPECT_EQ(manifest.plans.size(), 3u);
  const auto config = *LlamaConfig::load(model_);
  for (const DistilledLayer& layer : manifest.distilled) {
    EXPECT_TRUE(load_dsla_layer(dir, layer, config, variant_).ok()) << layer.file;
  }
  EXPECT_TRUE(load_joint_state(dir, Stage::kChained)->has_value());
}

TEST_F(JointChainedTest, AStageThatLeavesThePlansFurtherAwayIsUndone) {
  const auto dir = folder_.path() / "dsla", before = folder_.path() / "before";
  options_.chained = {6, 0.5, 0.5, 0};  // a rate that leads astray
  ASSERT_TRUE(run(dir, 3).ok());
  options_.joint_chained = false;
  options_.chained.steps = 0;
  ASSERT_TRUE(run(before, 3).ok());
  const auto undone = *load_chain_manifest(dir);
  EXPECT_EQ(undone.distilled.front().losses["joint_chained"]["undone"], true);
  EXPECT_EQ(undone.plans, load_chain_manifest(before)->plans);
  EXPECT_EQ(layer_files(dir), layer_files(before));
  for (const std::string& file : layer_files(before))
    EXPECT_EQ(read_text(dir / file), read_text(before / file));
}

TEST_F(JointChainedTest, WhatAKillLeavesBehindThePublishedChainIsRemoved) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_TRUE(run(dir, 3).ok());
  const std::string published = read_text(dir / "chain.json");
  std::ofstream(dir / "layer-03.safetensors") << "of before";
  std::ofstream(dir / "joint-9.safetensors") << "of the stage";
  ASSERT_TRUE(run(dir, 3).ok());
  EXPECT_EQ(read_text(dir / "chain.json"), published);  // and nothing is trained again
  EXPECT_EQ(layer_files(dir).size(), 3u);
}

TEST_F(JointChainedTest, AChainThatGrewOrBeginsAnotherHasTheStageAgain) {
  const auto dir = folder_.path() / "dsla", next = folder_.path() / "next";
  ASSERT_TRUE(run(dir, 3).ok());
  ASSERT_TRUE(run(dir, 4).ok());
  EXPECT_EQ(layer_files(dir),
            (std::vector<std::string>{"layer-00.safetensors", "layer-01.safetensors", "layer-03.safetensors",
                                      "layer-04-joint.safetensors"}));
  EXPECT_TRUE(is_trained_jointly(*load_chain_manifest(dir)));
  std::filesystem::create_directories(next);
  const auto begun = ChainSource::open(dir, {})->begin(next, variant_);
  ASSERT_TRUE(begun.ok());
  EXPECT_FALSE(is_trained_jointly(*begun));
  EXPECT_TRUE(begun->distilled.front().losses.contains("joint_chained_before"));
}

TEST_F(JointChainedTest, WhatLayersToComeHaveLearnedOutlivesIt) {
  const auto backend = kernels::make_cpu_training_backend(2);
  Network network(*backend, *load_teacher(model_, *backend, DType::kF32), DType::kF32, variant_);
  const auto alone =
      convert_alone(*backend, network, *files_, {&options_, variant_, training_, held_out_, {}, nullptr});
  ASSERT_TRUE(alone.ok());
  TrainedLayers students;
  for (const auto& each : alone->students) students.push_back(each.get());
  const auto dir = folder_.path() / "dsla";
  std::filesystem::create_directories(dir);
  ASSERT_TRUE(keep_joint_students(dir, students, alone->tokens).ok());
  ASSERT_TRUE(run(dir, 2).ok());
  ASSERT_TRUE(run(dir, 5).ok());
  for (const std::string& line : logged(dir)) {
    const auto json = nlohmann::json::parse(line);
    EXPECT_FALSE(json.value("stage", "") == "layerwise" && json.contains("step")) << line;
  }
}

TEST_F(JointChainedTest, PlansForWhichLayersAreMissingArePassedOver) {
  options_.joint_plans = {1, 4};
  const auto dir = folder_.path() / "dsla", none = folder_.path() / "none";
  ASSERT_TRUE(run(dir, 2).ok());
  EXPECT_EQ(load_chain_manifest(dir)->distilled[0].losses["joint_chained"]["plans"], (std::vector<int>{1}));
  options_.joint_plans = {4};
  ASSERT_TRUE(run(none, 2).ok());
  EXPECT_EQ(load_chain_manifest(none)->distilled[0].losses["joint_chained"]["plans"],
            (std::vector<int>{1, 2}));
}

TEST_F(JointChainedTest, QuartersAreThePlansThatNobodyNamed) {
  EXPECT_EQ(quarter_plans(30), (std::vector<int>{7, 15, 22, 30}));
  EXPECT_EQ(quarter_plans(8), (std::vector<int>{2, 4, 6, 8}));
  EXPECT_EQ(quarter_plans(2), (std::vector<int>{1, 2}));
  EXPECT_EQ(quarter_plans(1), (std::vector<int>{1}));
}

}  // namespace
}  // namespace dslad::worker
