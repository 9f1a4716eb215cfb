// Layers that learn beside each other from one pass of the teacher: as each would by itself, stopped or not.
#include <gtest/gtest.h>

#include "tests/worker/distil_run.h"
#include "worker/distill/held_out.h"
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
  return {*named_variant("paper"), rich, unrotated};
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

}  // namespace
}  // namespace dslad::worker
