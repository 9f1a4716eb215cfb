// Whole distillation runs on a small random model: what stands in the folder after each way a run can end.
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/sanitized.h"
#include "tests/worker/distil_run.h"
#include "tests/worker/test_files.h"
#include "worker/distill/chain_training.h"
#include "worker/distill/checkpoint.h"
#include "worker/distill/held_out.h"
#include "worker/distill/sensitivity.h"
#include "worker/distill/training_log.h"
#include "worker/model/dsla_layer.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using testing::read_text;

class DistilTest : public DistilRun {};

TEST_F(DistilTest, MakesAChainWhoseLayersLoadAndWhoseDivergenceFellAtEveryStage) {
  options_.layerwise.steps = 30;
  options_.chained.steps = 20;
  options_.losses = {0.0, 0.0, 1.0};  // the labels are random: nothing to learn from them
  const auto dir = folder_.path() / "dsla";
  const Status done = run(dir, 2);
  ASSERT_TRUE(done.ok()) << done.error().message;
  const auto manifest = load_chain_manifest(dir);
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  ASSERT_EQ(manifest->distilled.size(), 2u);
  EXPECT_EQ(manifest->distilled[0].layer, 3);
  EXPECT_EQ(manifest->distilled[1].layer, 1);
  const auto config = *LlamaConfig::load(model_);
  for (const DistilledLayer& layer : manifest->distilled) {
    EXPECT_TRUE(load_dsla_layer(dir, layer, config, manifest->variant).ok());
    const double initial = layer.losses["initialised"]["kl"], layerwise = layer.losses["layerwise"]["kl"],
                 chained = layer.losses["chained"]["kl"];
    EXPECT_LT(layerwise, initial);
    EXPECT_LT(chained, layerwise);
  }
  ASSERT_EQ(manifest->plans.size(), 2u);
  EXPECT_GT(*manifest->plans[1].kl, 0.0);
  EXPECT_FALSE(std::filesystem::exists(dir / "checkpoint.json"));
}

TEST_F(DistilTest, ARunStoppedAtAnyStepGoesOnToTheSameLossesAndFiles) {
  options_.further = {further(3)};
  further_sequences_ = {longer_};
  const auto whole = folder_.path() / "whole";
  ASSERT_TRUE(run(whole, 2).ok());
  for (const int stop : dslad::testing::sample(std::vector{1, 5, 6, 9, 11, 12, 13, 14, 17, 27}, 3)) {
    const auto parts = folder_.path() / ("stop" + std::to_string(stop));
    const Status stopped = run(parts, 2, stop);
    ASSERT_FALSE(stopped.ok());
    EXPECT_EQ(stopped.error().code, ErrorCode::kUnavailable);
    ASSERT_TRUE(run(parts, 2).ok());
    EXPECT_EQ(logged(parts), logged(whole)) << stop;
    for (const char* file : {"layer-03.safetensors", "layer-01.safetensors", "chain.json"}) {
      EXPECT_EQ(read_text(parts / file), read_text(whole / file)) << file << " after " << stop;
    }
  }
}

// Two layers, of which one is hard, and three further stages: for hard layers, for nobody, on longer texts.
TEST_F(DistilTest, FurtherStagesAreForLayersAboveTheirDivergence_StoppedOrNot) {
  const auto plain = folder_.path() / "plain";
  ASSERT_TRUE(run(plain, 2).ok());
  const auto layers = load_chain_manifest(plain)->distilled;
  const double first = layers[0].losses["chained"]["kl"], second = layers[1].losses["chained"]["kl"];
  ASSERT_LT(first, second);  // the second one stands on the first one's error
  options_.further = {further(9, first), further(4, 1e9), further(2)};
  options_.further[0].loss = Stage::kLayerwise;
  further_sequences_ = {{}, {}, longer_};
  const auto whole = folder_.path() / "whole", parts = folder_.path() / "parts";
  ASSERT_TRUE(run(whole, 2).ok());
  std::map<std::string, std::map<int, int>> steps;
  for (const std::string& line : logged(whole)) {
    const auto json = nlohmann::json::parse(line);
    if (json.contains("stage")) ++steps[json["stage"]][json["layer"].get<int>()];
  }
  EXPECT_EQ(steps["chained"], (std::map<int, int>{{3, 5}, {1, 5}}));
  EXPECT_EQ(steps["stage_3"], (std::map<int, int>{{1, 9}}));
  EXPECT_FALSE(steps.contains("stage_4"));
  EXPECT_EQ(steps["stage_5"], (std::map<int, int>{{3, 2}, {1, 2}}));
  const auto made = load_chain_manifest(whole)->distilled;
  EXPECT_FALSE(made[0].losses.contains("stage_3"));
  EXPECT_TRUE(made[1].losses.contains("stage_3"));
  EXPECT_FALSE(made[1].losses.contains("stage_4"));
  for (const DistilledLayer& layer : made) EXPECT_TRUE(layer.losses.contains("stage_5"));
  ASSERT_FALSE(run(parts, 2, 29).ok());  // amid the hard layer's own stage
  ASSERT_TRUE(run(parts, 2).ok());
  EXPECT_EQ(logged(parts), logged(whole));
}

TEST_F(DistilTest, AStageThatRaisesTheDivergenceIsUndone_StoppedOrNot) {
  options_.chained.steps = 0;
  const auto without = folder_.path() / "without", undone = folder_.path() / "undone",
             stopped = folder_.path() / "stopped", kept = folder_.path() / "kept";
  ASSERT_TRUE(run(without, 1).ok());
  options_.chained = {4, 0.5, 0.5, 0};  // a rate that leads astray
  ASSERT_TRUE(run(undone, 1).ok());
  ASSERT_FALSE(run(stopped, 1, 8).ok());  // in the middle of the stage
  ASSERT_TRUE(run(stopped, 1).ok());
  options_.undo_worse = false;
  ASSERT_TRUE(run(kept, 1).ok());

  const std::string file = "layer-03.safetensors";
  EXPECT_EQ(read_text(undone / file), read_text(without / file));
  EXPECT_EQ(read_text(stopped / file), read_text(undone / file));
  EXPECT_EQ(logged(stopped), logged(undone));
  EXPECT_NE(read_text(kept / file), read_text(without / file));

  const auto losses = load_chain_manifest(undone)->distilled[0].losses;
  const auto kept_losses = load_chain_manifest(kept)->distilled[0].losses;
  EXPECT_EQ(losses["chained"]["kl"], losses["layerwise"]["kl"]);
  EXPECT_GT(losses["chained"]["undone_kl"], losses["layerwise"]["kl"]);
  EXPECT_EQ(kept_losses["chained"]["kl"], losses["chained"]["undone_kl"]);
  EXPECT_FALSE(kept_losses["chained"].contains("undone_kl"));
}

TEST_F(DistilTest, AFurtherStageTrainsOnItsOwnSequences) {
  options_.layerwise.steps = options_.chained.steps = 1;
  options_.batch_tokens = 1;  // a sequence a step
  options_.further = {further(6)};
  further_sequences_ = {longer_};
  const auto dir = folder_.path() / "dsla";
  ASSERT_TRUE(run(dir, 1).ok());
  std::multiset<std::int64_t> expected, found;
  for (const TrainingBatch& sequence : longer_) expected.insert(sequence.rows());
  for (const std::string& line : logged(dir)) {
    const auto json = nlohmann::json::parse(line);
    if (json.value("stage", "") == "stage_3") found.insert(json["tokens"].get<std::int64_t>());
  }
  EXPECT_EQ(found, expected);
  EXPECT_TRUE(load_chain_manifest(dir)->distilled[0].losses.contains("stage_3"));
}

TEST_F(DistilTest, ALossThatIsNotFiniteStopsAndSaysWhere) {
  options_.layerwise.rate = options_.layerwise.lowest_rate = 1e30;
  const auto dir = folder_.path() / "dsla";
  const Status done = run(dir, 1);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::kInternal);
  EXPECT_NE(done.error().message.find("layer 3, stage layerwise, step"), std::string::npos)
      << done.error().message;
  EXPECT_TRUE(std::filesystem::exists(dir / "checkpoint.json"));
  EXPECT_FALSE(std::filesystem::exists(dir / "layer-03.safetensors"));
}

TEST_F(DistilTest, ConvertsEveryLayerWithEveryVariant) {
  options_.layerwise.steps = options_.chained.steps = 2;
  DslaVariant rich = *named_variant("paper");
  rich.form = LayerForm::kDslad;
  rich.rotary = true;
  rich.feature_map = kernels::FeatureMap::kSoftmax;
  rich.window = 5;
  DslaVariant wide = rich;
  wide.name = "wide";
  wide.feature_map = kernels::FeatureMap::kSoftmaxPair;
  rich.name = "rich";
  DslaVariant expanded = wide;
  expanded.name = "expanded";
  expanded.rotary = false;
  expanded.expand_k = 2;
  for (const DslaVariant& variant :
       {*named_variant("paper"), *named_variant("dslad"), rich, wide, expanded}) {
    variant_ = variant;
    const auto dir = folder_.path() / variant.name;
    const Status done = run(dir, 5);
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ(load_chain_manifest(dir)->plans.size(), 5u);
  }
}

TEST_F(DistilTest, RefusesACheckpointOfAnotherShape) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_FALSE(run(dir, 1, 3).ok());
  variant_.form = LayerForm::kDslad;
  const Status resumed = run(dir, 1);
  ASSERT_FALSE(resumed.ok());
  EXPECT_EQ(resumed.error().code, ErrorCode::kInvalidArgument) << resumed.error().message;
}

TEST_F(DistilTest, ACheckpointKeepsADivergenceThatIsNoNumber) {
  Checkpoint checkpoint;
  checkpoint.state.kl = checkpoint.state.ce = {0.5, 0.5};
  checkpoint.state.reached_kl = {0.5, std::numeric_limits<double>::quiet_NaN()};
  checkpoint.values = checkpoint.stage_start = checkpoint.first_moment = checkpoint.second_moment = {1.0f};
  ASSERT_TRUE(save_checkpoint(folder_.path(), checkpoint).ok());
  const auto loaded = load_checkpoint(folder_.path());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  ASSERT_EQ((*loaded)->state.reached_kl.size(), 2u);
  EXPECT_TRUE(std::isnan((*loaded)->state.reached_kl[1]));

  checkpoint.state.reached_kl = {0.5};
  ASSERT_TRUE(save_checkpoint(folder_.path(), checkpoint).ok());
  EXPECT_FALSE(load_checkpoint(folder_.path()).ok());
}

TEST_F(DistilTest, ALogThatIsShorterThanItsCheckpointSaysGoesOnWhereItEnds) {
  const auto path = folder_.path() / "log.jsonl";
  std::ofstream(path) << "{}\n";
  auto log = TrainingLog::open(path, 100);
  ASSERT_TRUE(log.ok());
  ASSERT_TRUE(log->append({{"step", 1}}).ok());
  EXPECT_EQ(read_text(path), "{}\n{\"step\":1}\n");
  EXPECT_EQ(log->bytes(), 14);
}

TEST_F(DistilTest, ADamagedCheckpointIsAnErrorThatNamesIt) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_FALSE(run(dir, 1, 3).ok());
  std::ofstream(dir / "checkpoint.json") << "{\"layer\": -1}";
  const Status resumed = run(dir, 1);
  ASSERT_FALSE(resumed.ok());
  EXPECT_NE(resumed.error().message.find("checkpoint.json"), std::string::npos) << resumed.error().message;
}

TEST_F(DistilTest, MeasuringStopsWhenAsked) {
  options_.layerwise.steps = 1;
  auto backend = kernels::make_cpu_training_backend(1);
  Network network(*backend, *load_teacher(model_, *backend, DType::kF32), DType::kF32, variant_);
  std::atomic<bool> stop = false;
  const SensitivitySetup setup{&options_, variant_, training_, held_out_, {}, &stop};
  const auto alone = convert_alone(*backend, network, *files_, setup);
  ASSERT_TRUE(alone.ok());
  const auto order =
      greedy_order(network, *alone, setup, [&](std::size_t tried, std::size_t) { stop = tried == 2; });
  ASSERT_FALSE(order.ok());
  EXPECT_EQ(order.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(measure_entropy(network, held_out_, &stop).ok());
}

TEST_F(DistilTest, ScoresThatWereWrittenMeanwhileAreKept) {
  const auto dir = folder_.path() / "dsla";
  ASSERT_FALSE(run(dir, 2, 13).ok());  // in the second layer
  auto manifest = *load_chain_manifest(dir);
  ASSERT_EQ(manifest.plans.size(), 1u);
  auto backend = kernels::make_cpu_training_backend(1);
  Network network(*backend, *load_teacher(model_, *backend, DType::kF32), DType::kF32, variant_);
  ChainSetup setup;
  setup.training = {&options_, training_, held_out_, {}, dir, 0.0, {}, nullptr, {}};
  setup.training.on_step = [&](const StepReport& report) {
    if (report.loss != Stage::kChained || report.step != 1) return;
    ChainManifest measured = *load_chain_manifest(dir);
    measured.plans[0].quality = 0.75;
    measured.plans.insert(measured.plans.begin(), PlanQuality{0, {}, {}, 1.0, nlohmann::json::object()});
    ASSERT_TRUE(save_chain_manifest(dir, measured).ok());
  };
  setup.weights = files_.get();
  setup.layers = 2;
  setup.stored = DType::kF32;
  ASSERT_TRUE(distil_chain(*backend, network, setup, manifest).ok());
  const auto made = load_chain_manifest(dir);
  ASSERT_EQ(made->plans.size(), 3u);
  EXPECT_EQ(made->plans[0].quality, 1.0);
  EXPECT_EQ(made->plans[1].quality, 0.75);
  EXPECT_TRUE(made->plans[2].kl.has_value());
}

TEST_F(DistilTest, TheGreedyOrderAlwaysTakesWhatAddsTheLeastDivergence) {
  options_.layerwise.steps = 3;
  auto backend = kernels::make_cpu_training_backend(1);
  Network network(*backend, *load_teacher(model_, *backend, DType::kF32), DType::kF32, variant_);
  const SensitivitySetup setup{&options_, variant_, training_, held_out_, {}, nullptr};
  const auto alone = convert_alone(*backend, network, *files_, setup);
  ASSERT_TRUE(alone.ok());
  std::size_t heard = 0, expected = 0;
  const auto order = greedy_order(network, *alone, setup, [&](std::size_t tried, std::size_t of) {
    EXPECT_EQ(tried, ++heard);
    expected = of;
  });
  ASSERT_TRUE(order.ok());
  EXPECT_EQ(heard, expected);
  ASSERT_EQ(std::set<int>(order->begin(), order->end()), (std::set<int>{0, 1, 2, 3, 4}));
  StudentLayers converted(5);
  for (const int next : *order) {
    const auto divergence = [&](int layer) {
      StudentLayers with = converted;
      with[static_cast<std::size_t>(layer)] = alone->students[static_cast<std::size_t>(layer)].get();
      return held_out_losses(network, held_out_, options_.batch_tokens, with)->kl;
    };
    for (int other = 0; other < 5; ++other) {
      if (converted[static_cast<std::size_t>(other)] != nullptr) continue;
      EXPECT_LE(divergence(next), divergence(other)) << next << " before " << other;
    }
    converted[static_cast<std::size_t>(next)] = alone->students[static_cast<std::size_t>(next)].get();
  }
}

TEST_F(DistilTest, EntropyLiesBetweenThatOfOneTokenAndOfAllAlike) {
  auto backend = kernels::make_cpu_training_backend(1);
  Network network(*backend, *load_teacher(model_, *backend, DType::kF32), DType::kF32, variant_);
  const auto entropy = measure_entropy(network, held_out_);
  ASSERT_TRUE(entropy.ok());
  ASSERT_EQ(entropy->size(), 5u);
  for (const AttentionEntropy& e : *entropy) {
    EXPECT_EQ(e.heads.size(), 4u);
    EXPECT_GT(e.last, 0.0);
    EXPECT_LT(e.last, std::log(32.0));
    EXPECT_GT(e.all, 0.0);
    EXPECT_LT(e.all, std::log(32.0));
  }
}

TEST(OrderTest, FollowsTheEvidence) {
  const std::vector<LayerEvidence> evidence = {{0, AttentionEntropy{2.0, 0, 0, {}}, 0.3},
                                               {1, AttentionEntropy{1.0, 0, 0, {}}, 0.1},
                                               {2, AttentionEntropy{3.0, 0, 0, {}}, 0.2}};
  const auto order = [&](const char* method) { return *order_by(method, evidence, 3, 1); };
  EXPECT_EQ(order("entropy-ascending"), (std::vector<int>{1, 0, 2}));
  EXPECT_EQ(order("entropy-descending"), (std::vector<int>{2, 0, 1}));
  EXPECT_EQ(order("kl"), (std::vector<int>{1, 2, 0}));
  EXPECT_EQ(order("index"), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(order("reverse"), (std::vector<int>{2, 1, 0}));
  EXPECT_EQ(order("random"), *order_by("random", {}, 3, 1));
  EXPECT_FALSE(order_by("best", evidence, 3, 1).ok());
  EXPECT_FALSE(order_by("kl", std::span(evidence).first(2), 3, 1).ok());
}

}  // namespace
}  // namespace dslad::worker
