// What converted layers compute: the formulas' values, the teacher's text where they must, an error where a
// layer's numbers are none.
#include <array>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <limits>

#include "tests/worker/chained_model.h"
#include "tests/worker/reference_forward.h"
#include "tests/worker/trained_layers.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::FeatureMap;
using kernels::WeightFormat;
using testing::ChainedModel;
using ::testing::HasSubstr;

const std::vector<int> kOrder = {2, 0, 4, 1, 3};

class ChainOfTheTeachersOwnWeights : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(ChainOfTheTeachersOwnWeights, GivesTheTextOfTheUndistilledPlanBitForBit) {
  const WeightFormat format = GetParam();
  const ChainedModel model("stories260K", kOrder, 5, *named_variant("paper"), kernels::compute_type(format));
  const auto weights = *load_weights(model.path(), format);
  const LoadedChain chain = load_chain(model.path(), *weights);
  ASSERT_EQ(chain.layers.size(), 5u) << chain.warning;
  const auto chained = engine_over(weights), undistilled = engine_over(weights);
  LoadedChain without_layers = chain;
  without_layers.layers.clear();
  const PlanSet plans(*weights, chain), undistilled_plans = *PlanSet::create(*weights, without_layers, 5);

  Collector expected, actual;
  for (int plan = 0; plan <= 5; ++plan) {
    std::vector<std::int32_t> prompt;
    prompt.reserve(150);
    for (int t = 0; t < 150; ++t) prompt.push_back((t * 37 + plan) % 512);
    EngineRequest request =
        continuation(static_cast<RequestId>(plan), prompt, 40, undistilled_plans.plan(plan));
    request.ignore_eos = true;
    ASSERT_TRUE(undistilled->add(request).ok());
    request.plan = plans.plan(plan);
    ASSERT_TRUE(chained->add(request).ok());
  }
  run_to_end(*undistilled, expected);
  run_to_end(*chained, actual);
  EXPECT_EQ(actual.answers, expected.answers);
  EXPECT_NE((actual.answers[{0, 0}]), (actual.answers[{5, 0}]));
}

INSTANTIATE_TEST_SUITE_P(Types, ChainOfTheTeachersOwnWeights,
                         ::testing::Values(WeightFormat::kF32, WeightFormat::kBf16));

// Training's start with a window as long as the text: every head's share of the states is 0.
TEST(ChainWithAWindowOfTheWholeText, GivesTheTeachersGreedyText) {
  DslaVariant variant = *named_variant("dslad");
  variant.window = 512;
  variant.feature_map = FeatureMap::kSoftmaxPair;
  const ChainedModel model("stories260K", kOrder, 5, variant);
  const auto weights = *load_weights(model.path(), WeightFormat::kF32);
  const LoadedChain chain = load_chain(model.path(), *weights);
  ASSERT_EQ(chain.layers.size(), 5u) << chain.warning;
  const auto engine = engine_over(weights);
  const PlanSet plans(*weights, chain);
  Collector sink;
  for (int plan = 0; plan <= 5; ++plan) {
    EngineRequest request =
        continuation(static_cast<RequestId>(plan), {1, 403, 407, 261, 378}, 400, plans.plan(plan));
    request.ignore_eos = true;
    ASSERT_TRUE(engine->add(std::move(request)).ok());
  }
  run_to_end(*engine, sink);
  for (int plan = 1; plan <= 5; ++plan) {
    EXPECT_EQ((sink.answers[{static_cast<RequestId>(plan), 0}]), (sink.answers[{0, 0}])) << "plan " << plan;
  }
}

// As above, where layers have what a Llama's need not: what is not the states' is the teacher's.
TEST(ChainWithAWindowOfTheWholeText, GivesTheGreedyTextOfATeacherOfAnyFamily) {
  DslaVariant variant = *named_variant("dslad");
  variant.window = 512;
  for (const char* const name :
       {"linear_rope", "llama3_rope", "yarn_rope", "biases", "qwen2", "qwen3", "smollm3"}) {
    const LlamaConfig config = *LlamaConfig::load(testing::golden_path(std::string("tiny_llama/") + name));
    std::vector<int> order;
    for (int layer = config.layers; layer-- > 0;) order.push_back(layer);
    const ChainedModel model(std::string("tiny_llama/") + name, order, config.layers, variant);
    const auto weights = *load_weights(model.path(), WeightFormat::kF32);
    const LoadedChain chain = load_chain(model.path(), *weights);
    ASSERT_EQ(std::ssize(chain.layers), config.layers) << chain.warning;
    const auto engine = engine_over(weights);
    const PlanSet plans(*weights, chain);
    Collector sink;
    for (const int plan : {0, config.layers}) {
      EngineRequest request =
          continuation(static_cast<RequestId>(plan), {1, 40, 17, 26, 37, 5, 58}, 60, plans.plan(plan));
      request.ignore_eos = true;
      ASSERT_TRUE(engine->add(std::move(request)).ok());
    }
    run_to_end(*engine, sink);
    const auto last = static_cast<RequestId>(config.layers);
    EXPECT_EQ((sink.answers[{last, 0}]), (sink.answers[{0, 0}])) << name;
  }
}

class VariantOfAFamily : public Variant {
 protected:
  // A prefill piece, a shorter one and single tokens of one sequence: every row's logits. The plan
  // runs after a step of as many rows without it, whose buffers may be too narrow.
  void compare(LlamaConfig config) {
    layers_ = layers_of(config);
    config.rope.type = RopeType::kLlama3;  // any that is not the plain one
    config.rope.factor = 4;
    config.rope.original_context = 64;
    config.rope.attention_factor = 1.1;
    const auto weights = random_weights(config, WeightFormat::kF32, 5);
    const LlamaConfig& c = weights->config;
    const auto backend = kernels::make_cpu_backend(2);
    const auto caches = CachePool::create(*backend, kv_layout(c, DType::kF32), std::size_t{16} << 20);
    ASSERT_TRUE(caches.ok());
    const PlanSet all = plans(*weights);
    const auto ids = noise_ids(155, 3);
    for (const int plan : {1, 2}) {
      Forward forward(*backend, weights, **caches);
      {
        const auto before = (*caches)->allocate(all.plan(0), 200);
        ASSERT_TRUE(before.has_value());
        const StepSequence step{&*before, 0, std::span(ids).first(128), kernels::RowKind::kPrefill,
                                LogitRows::kAll};
        ASSERT_TRUE(forward.run({&step, 1}).ok());
      }
      std::map<int, testing::ReferenceLayer> converted;
      for (int position = 0; position < plan; ++position) {
        const int layer = all.order().layer_at(position);
        converted[layer] = layers_[layer];
      }
      const auto expected = testing::ReferenceForward(*weights, converted).logits(ids);
      const auto cache = (*caches)->allocate(all.plan(plan), 200);
      ASSERT_TRUE(cache.has_value());
      std::size_t done = 0;
      for (const std::size_t rows : {128u, 20u, 1u, 1u, 1u, 1u, 1u, 1u, 1u}) {
        const auto kind = rows == 1 ? kernels::RowKind::kDecode : kernels::RowKind::kPrefill;
        const StepSequence step{&*cache, static_cast<std::int64_t>(done), std::span(ids).subspan(done, rows),
                                kind, LogitRows::kAll};
        ASSERT_TRUE(forward.run({&step, 1}).ok());
        for (std::size_t row = 0; row < rows; ++row) {
          const auto actual = forward.logits(row);
          double scale = 0, worst = 0;
          for (std::size_t i = 0; i < actual.size(); ++i) {
            scale = std::max(scale, std::abs(expected[done + row][i]));
            worst = std::max(worst, std::abs(double{actual[i]} - expected[done + row][i]));
          }
          ASSERT_LE(worst, 2e-4 * scale) << "plan " << plan << ", token " << done + row;
        }
        done += rows;
      }
    }
  }
};

TEST_P(VariantOfAFamily, ComputesWhatTheFormulasSay) {
  compare(small_config());
}

TEST_P(VariantOfAFamily, ComputesWhatTheFormulasSayWhereLayersHaveOptionalParts) {
  compare(small_config_with_optional_parts());
}

INSTANTIATE_TEST_SUITE_P(All, VariantOfAFamily, ::testing::ValuesIn(variants()), name_of);

// Between them they have every tensor that a layer can have.
class DamagedVariant : public Variant {};

// Whichever tensor the number is in: requests of plans with the layer fail. Others of the same steps, and
// later ones in the memory that they leave, answer as ever.
TEST_P(DamagedVariant, WithANumberThatIsNotFiniteFailsItsPlansAndNobodyElse) {
  using Tensor = std::vector<float> DslaLayerTensors::*;
  using Tensors = DslaLayerTensors;
  constexpr std::array<std::pair<const char*, Tensor>, 17> kTensors = {{{"q", &Tensors::q},
                                                                        {"k", &Tensors::k},
                                                                        {"v", &Tensors::v},
                                                                        {"o", &Tensors::o},
                                                                        {"g1", &Tensors::g1},
                                                                        {"g2", &Tensors::g2},
                                                                        {"c1", &Tensors::c1},
                                                                        {"c2", &Tensors::c2},
                                                                        {"alpha", &Tensors::alpha},
                                                                        {"o_norm", &Tensors::o_norm},
                                                                        {"share", &Tensors::share},
                                                                        {"q_bias", &Tensors::q_bias},
                                                                        {"k_bias", &Tensors::k_bias},
                                                                        {"v_bias", &Tensors::v_bias},
                                                                        {"o_bias", &Tensors::o_bias},
                                                                        {"q_norm", &Tensors::q_norm},
                                                                        {"k_norm", &Tensors::k_norm}}};
  const auto weights = random_weights(small_config_with_optional_parts(), WeightFormat::kF32, 8);
  layers_ = layers_of(weights->config);
  const PlanSet sound = plans(*weights);
  const auto request = [](RequestId id, const PlanSet& set, int plan) {
    return continuation(id, noise_ids(70, 4), 12, set.plan(plan));
  };
  const std::vector<std::int32_t> plan_0 = alone(weights, request(1, sound, 0)),
                                  plan_1 = alone(weights, request(1, sound, 1));
  const std::size_t budget = engine_over(weights)->needs(request(1, sound, 0)).cache_bytes * 4;
  for (const auto& [name, tensor] : kTensors) {
    std::vector<float>& values = layers_.at(0).tensors.*tensor;
    if (values.empty()) continue;
    float& value = values[values.size() / 2];
    const float before = std::exchange(value, std::numeric_limits<float>::quiet_NaN());
    const PlanSet damaged = plans(*weights);
    const auto engine = engine_over(weights, {.cache_bytes = budget});
    Collector sink;
    for (const RequestId wave : {10u, 20u}) {
      for (const int plan : {2, 0, 1, 3}) {
        ASSERT_TRUE(engine->add(request(wave + static_cast<RequestId>(plan), damaged, plan)).ok());
      }
      run_to_end(*engine, sink);
      for (const RequestId bad : {wave + 2, wave + 3}) {
        ASSERT_TRUE(sink.failed.contains(bad)) << name << ", plan " << bad - wave;
        EXPECT_EQ(sink.failed.at(bad).code, ErrorCode::kCorrupt);
        EXPECT_THAT(sink.failed.at(bad).message,
                    HasSubstr(fmt::format("plan {} (edition an editi", bad - wave)));
        EXPECT_TRUE(sink.answers[std::make_pair(bad, 0)].empty()) << name;
      }
      EXPECT_EQ(sink.answers[std::make_pair(wave, 0)], plan_0) << name;
      EXPECT_EQ(sink.answers[std::make_pair(wave + 1, 0)], plan_1) << name;
    }
    EXPECT_EQ(sink.failed.size(), 4u);
    EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
    value = before;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryTensor, DamagedVariant,
                         ::testing::Values(variant_named("paper"), variant_named("everything"),
                                           variant_named("window beside pairs of wider keys"),
                                           variant_named("delta of wider pairs beside a window")),
                         name_of);

}  // namespace
}  // namespace dslad::worker
