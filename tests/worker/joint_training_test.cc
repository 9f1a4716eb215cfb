// Layers that learn beside each other from one pass of the teacher: as each would by itself, stopped or not.
#include <gtest/gtest.h>

#include "tests/worker/distil_run.h"
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

}  // namespace
}  // namespace dslad::worker
