// Small models with trained layers of every variant that a chain may have, and the plans that use them.
#pragma once

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/engine_world.h"
#include "tests/worker/reference_forward.h"

namespace dslad::worker {

inline LlamaConfig small_config() {
  LlamaConfig config;
  config.hidden_size = 48;
  config.intermediate_size = 80;
  config.vocab_size = 120;
  config.context = 512;
  config.layers = 3;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.rms_norm_eps = 1e-5;
  return config;
}

// With whatever a Llama's layers need not have.
inline LlamaConfig small_config_with_optional_parts() {
  LlamaConfig config = small_config();
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  config.windows = {50, 20, 0};
  config.rotary_layers = {true, true, false};
  return config;
}

// A trained layer's tensors: unlike the teacher's and unlike each other.
inline DslaLayerTensors trained(const LlamaConfig& c, const DslaVariant& variant, unsigned seed) {
  std::mt19937 random(seed);
  const auto fill = [&](std::size_t count, double scale, double centre = 0) {
    std::vector<float> values(count);
    std::normal_distribution<double> normal(centre, scale);
    for (float& value : values) value = static_cast<float>(normal(random));
    return values;
  };
  const auto hidden = static_cast<std::size_t>(c.hidden_size), d = static_cast<std::size_t>(c.head_dim);
  const std::size_t q = static_cast<std::size_t>(c.heads) * d, kv = static_cast<std::size_t>(c.kv_heads) * d;
  const auto gates = static_cast<std::size_t>(variant.gates_of_kind(c.kv_heads, c.head_dim));
  DslaLayerTensors tensors;
  const auto expand_k = static_cast<std::size_t>(variant.expand_k);
  tensors.q = fill(q * expand_k * hidden, 0.15);
  tensors.k = fill(kv * expand_k * hidden, 0.15);
  tensors.v = fill(kv * hidden, 0.15);
  tensors.o = fill(q * hidden, 0.15);
  tensors.g1 = fill(gates * hidden, 0.3);
  if (variant.gate_kinds() == 2) tensors.g2 = fill(gates * hidden, 0.3);
  const GateBiases biases = initial_gate_biases(variant.form);
  tensors.c1 = fill(gates, 1, biases.history);
  if (variant.gate_kinds() == 2) tensors.c2 = fill(gates, 1, variant.delta ? 0 : biases.recency);
  tensors.alpha = fill(static_cast<std::size_t>(variant.alpha_size(c.heads)), 0.7);
  if (variant.output_norm()) tensors.o_norm = fill(d, 0.2, 1);
  if (variant.window > 0) tensors.share = fill(static_cast<std::size_t>(c.heads), 0.7);
  if (c.qkv_bias) {
    tensors.q_bias = fill(q * expand_k, 0.3);
    tensors.k_bias = fill(kv * expand_k, 0.3);
    tensors.v_bias = fill(kv, 0.3);
  }
  if (c.output_bias) tensors.o_bias = fill(hidden, 0.3);
  if (c.qk_norm) {
    tensors.q_norm = fill(d, 0.2, 1);
    tensors.k_norm = fill(d, 0.2, 1);
  }
  return tensors;
}

inline DslaVariant variant(const char* name, void (*change)(DslaVariant&)) {
  DslaVariant out;
  out.name = name;
  change(out);
  return out;
}

// What the layers of a chain compute: both alike, or each its own.
struct Variants {
  Variants(DslaVariant both) : first(both), second(std::move(both)) {}
  Variants(DslaVariant one, DslaVariant other) : first(std::move(one)), second(std::move(other)) {}
  DslaVariant first, second;
};

inline const std::vector<Variants>& variants() {
  static const std::vector<Variants> kVariants = {
      variant("paper", [](DslaVariant&) {}),
      variant("rotary", [](DslaVariant& v) { v.rotary = true; }),
      variant("our form", [](DslaVariant& v) { v.form = LayerForm::kDslad; }),
      variant("softmax", [](DslaVariant& v) { v.feature_map = kernels::FeatureMap::kSoftmax; }),
      variant("softmax pair", [](DslaVariant& v) { v.feature_map = kernels::FeatureMap::kSoftmaxPair; }),
      variant("window", [](DslaVariant& v) { v.rotary = true, v.window = 64; }),
      variant("odd window", [](DslaVariant& v) { v.rotary = true, v.window = 37; }),
      variant("window and softmax pair",
              [](DslaVariant& v) {
                v.window = 40;
                v.rotary = true;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmaxPair;
              }),
      variant("everything",
              [](DslaVariant& v) {
                v.window = 40;
                v.rotary = true;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmax;
              }),
      variant("window with sinks",
              [](DslaVariant& v) {
                v.window = 40;
                v.sinks = 4;
                v.rotary = true;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmax;
              }),
      variant("odd window with many sinks", [](DslaVariant& v) { v.window = 7, v.sinks = 16; }),
      variant("window beside unrotated states", [](DslaVariant& v) { v.window = 40; }),
      variant("window beside unrotated pairs",
              [](DslaVariant& v) {
                v.window = 37;
                v.feature_map = kernels::FeatureMap::kSoftmaxPair;
              }),
      variant("wider keys", [](DslaVariant& v) { v.expand_k = 2; }),
      variant("wider keys and a map",
              [](DslaVariant& v) { v.expand_k = 3, v.feature_map = kernels::FeatureMap::kSoftmax; }),
      variant("window beside wider keys", [](DslaVariant& v) { v.window = 40, v.expand_k = 2; }),
      variant("window beside pairs of wider keys",
              [](DslaVariant& v) {
                v.window = 37;
                v.expand_k = 2;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmaxPair;
              }),
      variant("one state", [](DslaVariant& v) { v.states = 1; }),
      variant("delta", [](DslaVariant& v) { v.states = 1, v.delta = true; }),
      variant("rotated delta beside a window",
              [](DslaVariant& v) {
                v.window = 40;
                v.sinks = 4;
                v.states = 1;
                v.delta = v.rotary = true;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmax;
              }),
      variant("delta of wider pairs beside a window",
              [](DslaVariant& v) {
                v.window = 37;
                v.states = 1;
                v.delta = true;
                v.expand_k = 2;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmaxPair;
              }),
      variant("one state of wider pairs beside a window",
              [](DslaVariant& v) {
                v.window = 37;
                v.states = 1;
                v.expand_k = 2;
                v.form = LayerForm::kDslad;
                v.feature_map = kernels::FeatureMap::kSoftmaxPair;
              }),
      {variant("two states and one", [](DslaVariant& v) { v.window = 40; }),
       variant("one", [](DslaVariant& v) { v.window = 40, v.states = 1; })},
      {variant("two states and delta", [](DslaVariant& v) { v.window = 40; }), variant("delta",
                                                                                       [](DslaVariant& v) {
                                                                                         v.window = 40;
                                                                                         v.states = 1;
                                                                                         v.delta = true;
                                                                                         v.expand_k = 2;
                                                                                       })},
      {variant("one narrow and one of wider keys",
               [](DslaVariant& v) {
                 v.window = 40;
                 v.rotary = true;
                 v.feature_map = kernels::FeatureMap::kSoftmaxPair;
               }),
       variant("wider keys", [](DslaVariant& v) { v.window = 40, v.expand_k = 3; })},
      {variant("one narrow and one wide",
               [](DslaVariant& v) {
                 v.window = 40;
                 v.rotary = true;
                 v.feature_map = kernels::FeatureMap::kSoftmax;
               }),
       variant("wide", [](DslaVariant& v) {
         v.window = 40;
         v.feature_map = kernels::FeatureMap::kSoftmaxPair;
       })}};
  return kVariants;
}

inline Variants variant_named(const std::string& name) {
  return *std::ranges::find(variants(), name, [](const Variants& each) { return each.first.name; });
}

inline std::vector<std::int32_t> noise_ids(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % 120);
  return ids;
}

// The answer of a request that nobody else is beside.
inline std::vector<std::int32_t> alone(const std::shared_ptr<const ModelWeights>& weights,
                                       const EngineRequest& request) {
  const auto engine = engine_over(weights, {.threads = 1});
  EXPECT_TRUE(engine->add(request).ok());
  Collector sink;
  run_to_end(*engine, sink);
  return sink.answers[{request.id, 0}];
}

class Variant : public ::testing::TestWithParam<Variants> {
 protected:
  // What is trained of a layer, packed.
  [[nodiscard]] std::shared_ptr<const DslaWeights> packed(int layer, const ModelWeights& weights) const {
    const testing::ReferenceLayer& trained = layers_.at(layer);
    return distilled_dsla(*weights.device, weights.config, trained.variant, trained.tensors, weights.format);
  }
  // Of an edition of the chain with layers 2 and 0 of three trained, and the third undistilled.
  [[nodiscard]] PlanSet plans(const ModelWeights& weights, const char* edition = "an edition") const {
    LoadedChain chain{
        *ConversionOrder::create({2, 0, 1}), std::nullopt, {packed(2, weights), packed(0, weights)}, {}};
    chain.edition = edition;
    return *PlanSet::create(weights, chain, 3);
  }
  // Another: of the same layers in another order, each with the weights and the variant of the other.
  [[nodiscard]] PlanSet other_plans(const ModelWeights& weights) const {
    LoadedChain chain{
        *ConversionOrder::create({0, 1, 2}), std::nullopt, {packed(2, weights), packed(0, weights)}, {}};
    chain.edition = "another";
    return *PlanSet::create(weights, chain, 3);
  }
  // Layers 2 and 0 of three, trained.
  static std::map<int, testing::ReferenceLayer> layers_of(const LlamaConfig& config) {
    return {{2, {trained(config, GetParam().first, 1), GetParam().first}},
            {0, {trained(config, GetParam().second, 2), GetParam().second}}};
  }
  std::map<int, testing::ReferenceLayer> layers_ = layers_of(small_config());
};

inline std::string name_of(const ::testing::TestParamInfo<Variants>& test) {
  std::string name = test.param.first.name;
  std::ranges::replace(name, ' ', '_');
  return name;
}

}  // namespace dslad::worker
