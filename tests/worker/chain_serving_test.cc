// Serving from a conversion chain: what is loaded and what refused, and what converted layers compute.
#include <array>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <limits>
#include <random>
#include <utility>

#include "tests/worker/chained_model.h"
#include "tests/worker/engine_world.h"
#include "tests/worker/reference_forward.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::FeatureMap;
using testing::ChainedModel;
using ::testing::HasSubstr;

const std::vector<int> kOrder = {2, 0, 4, 1, 3};

LoadedChain load(const std::filesystem::path& model, DType dtype = DType::kF32) {
  return load_chain(model, **load_weights(model, dtype));
}

std::vector<int> order_of(const LoadedChain& chain) {
  std::vector<int> order;
  order.reserve(static_cast<std::size_t>(chain.order.layers()));
  for (int position = 0; position < chain.order.layers(); ++position) {
    order.push_back(chain.order.layer_at(position));
  }
  return order;
}

TEST(LoadedChain, WithoutAChainThereIsPlan0AndNothingToWarnOf) {
  const LoadedChain chain = load(golden("stories260K"));
  EXPECT_FALSE(chain.manifest.has_value());
  EXPECT_TRUE(chain.layers.empty());
  EXPECT_EQ(chain.warning, "");
  EXPECT_EQ(order_of(chain), (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(LoadedChain, GivesTheOrderAndTheDistilledLayers) {
  const ChainedModel model("stories260K", kOrder, 3);
  const LoadedChain chain = load(model.path());
  EXPECT_EQ(chain.warning, "");
  EXPECT_EQ(order_of(chain), kOrder);
  ASSERT_EQ(chain.layers.size(), 3u);
  EXPECT_TRUE(chain.layers[0]->distilled && chain.layers[0]->own_projections());
  EXPECT_EQ(chain.manifest, model.manifest);
}

// The manifest is refused whole.
void expect_plan_0_only(const ChainedModel& model, const std::string& why) {
  const LoadedChain chain = load(model.path());
  EXPECT_FALSE(chain.manifest.has_value());
  EXPECT_TRUE(chain.layers.empty());
  EXPECT_THAT(chain.warning, HasSubstr(model.chain().string()));
  EXPECT_THAT(chain.warning, HasSubstr(why));
  EXPECT_THAT(chain.warning, HasSubstr("plan 0 only"));
}

TEST(LoadedChain, OfAnotherTeacherIsRefused) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.teacher_digest = "00000000000000000000000000000000";
  model.save();
  expect_plan_0_only(model, "digest 00000000000000000000000000000000");
}

TEST(LoadedChain, OfAModelWithOtherLayersIsRefused) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.layers = 6;
  model.manifest.order.push_back(5);
  model.save();
  expect_plan_0_only(model, "6 layers");
}

TEST(LoadedChain, ThatIsMalformedIsRefused) {
  const ChainedModel model("stories260K", kOrder, 2);
  std::ofstream(model.chain() / "chain.json") << "{";
  expect_plan_0_only(model, "malformed JSON");
}

TEST(LoadedChain, PlansStopBeforeALayerThatIsDamagedOrMissing) {
  for (const bool missing : {false, true}) {
    const ChainedModel model("stories260K", kOrder, 3);
    if (missing) {
      std::filesystem::remove(model.file(1));
    } else {
      model.damage(1);
    }
    const LoadedChain chain = load(model.path());
    EXPECT_EQ(chain.layers.size(), 1u);
    EXPECT_EQ(order_of(chain), kOrder);
    EXPECT_THAT(chain.warning, HasSubstr(model.file(1).string()));
    EXPECT_THAT(chain.warning, HasSubstr("plans end at 1, before layer 0"));
  }
}

TEST(Plans, EndWithTheDistilledLayersAndCanBeExtendedByUndistilledOnes) {
  ChainedModel model("stories260K", kOrder, 2);
  model.manifest.plans = {{1, 0.01, 1.02, 0.98, nlohmann::json::object()}};
  model.save();
  const auto weights = *load_weights(model.path(), DType::kF32);
  const LoadedChain chain = load_chain(model.path(), *weights);
  PlanSet plans(*weights, chain);
  ASSERT_EQ(plans.largest(), 2);
  EXPECT_EQ(plans.plan(2)->edition(), chain.edition);
  EXPECT_EQ(plans.plan(0)->quality(), 1.0);
  EXPECT_EQ(plans.plan(1)->quality(), 0.98);
  EXPECT_EQ(plans.plan(2)->quality(), std::nullopt) << "not measured";
  EXPECT_EQ(plans.plan(1)->dsla(2), chain.layers[0].get());
  EXPECT_EQ(plans.plan(1)->dsla(0), nullptr);

  const auto before = plans.plan(2);
  ASSERT_TRUE(plans.extend(*weights, 3).ok());
  ASSERT_EQ(plans.largest(), 3);
  EXPECT_EQ(plans.plan(2), before) << "the same object";
  EXPECT_EQ(plans.plan(3)->dsla(2), chain.layers[0].get());
  EXPECT_EQ(plans.plan(3)->dsla(0), chain.layers[1].get());
  EXPECT_FALSE(plans.plan(3)->dsla(4)->distilled);
  EXPECT_EQ(plans.plan(3)->dsla(1), nullptr);
  EXPECT_FALSE(plans.extend(*weights, 6).ok());
  EXPECT_EQ(plans.largest(), 3) << "nothing has changed";
}

class ChainOfTheTeachersOwnWeights : public ::testing::TestWithParam<DType> {};

TEST_P(ChainOfTheTeachersOwnWeights, GivesTheTextOfTheUndistilledPlanBitForBit) {
  const DType dtype = GetParam();
  const ChainedModel model("stories260K", kOrder, 5, *named_variant("paper"), dtype);
  const auto weights = *load_weights(model.path(), dtype);
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

INSTANTIATE_TEST_SUITE_P(Types, ChainOfTheTeachersOwnWeights, ::testing::Values(DType::kF32, DType::kBf16));

// Training's start with a window as long as the text: every head's share of the states is 0.
TEST(ChainWithAWindowOfTheWholeText, GivesTheTeachersGreedyText) {
  DslaVariant variant = *named_variant("dslad");
  variant.window = 512;
  variant.feature_map = FeatureMap::kUnit;
  const ChainedModel model("stories260K", kOrder, 5, variant);
  const auto weights = *load_weights(model.path(), DType::kF32);
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

TEST(Slots, HaveTheSizeOfTheirLayer) {
  const LlamaConfig config = *LlamaConfig::load(golden("stories260K"));
  const std::size_t per_token = std::size_t{2} * config.kv_heads * config.head_dim * sizeof(float);
  const std::size_t states = per_token * static_cast<std::size_t>(config.head_dim);
  DslaVariant windowed, endless, wide;
  windowed.window = 64;
  endless.window = 1 << 20;
  wide.feature_map = FeatureMap::kSoftmaxPair;
  wide.expand_k = 2;
  EXPECT_EQ(slot_shape(config, {}).bytes(), states);
  EXPECT_EQ(slot_shape(config, windowed).bytes(), states + 64 * per_token);
  EXPECT_EQ(slot_shape(config, endless).bytes(),
            states + static_cast<std::size_t>(config.context) * per_token)
      << "no more than the context";
  EXPECT_EQ(slot_shape(config, wide).bytes(), 4 * states);
}

// A converted layer that nothing but its variant is needed of.
std::shared_ptr<const DslaWeights> of_variant(void (*change)(DslaVariant&)) {
  auto weights = std::make_shared<DslaWeights>();
  change(weights->variant);
  return weights;
}

// Whatever the plan, what a sequence needs is what it takes, and it gives all of it back.
TEST(Slots, AreCountedByThePlansLayers) {
  const LlamaConfig config = *LlamaConfig::load(golden("stories260K"));
  const auto plain = of_variant([](DslaVariant&) {});
  const ConvertedLayers converted = {plain, plain, plain, of_variant([](DslaVariant& v) { v.expand_k = 16; }),
                                     of_variant([](DslaVariant& v) { v.window = 100; })};
  const auto order = *ConversionOrder::create({3, 0, 4, 1, 2});
  const kernels::KvLayout kv = kv_layout(config, DType::kBf16);
  const auto backend = kernels::make_cpu_backend(1);
  const auto pool = *CachePool::create(*backend, kv, std::size_t{4} << 20);
  const std::int64_t tokens = 5 * kernels::kPageTokens - 3;
  std::int64_t slots = 0;
  for (int number = 0; number <= 5; ++number) {
    if (number > 0) {
      const auto layer = static_cast<std::size_t>(order.layer_at(number - 1));
      const std::size_t bytes = slot_shape(config, converted[layer]->variant).bytes();
      slots += static_cast<std::int64_t>((bytes + kv.page_bytes() - 1) / kv.page_bytes());
    }
    const auto plan =
        std::make_shared<const Plan>(config, DType::kBf16, "", order, converted, number, std::nullopt);
    EXPECT_EQ(plan->state_bytes(), static_cast<std::size_t>(slots) * kv.page_bytes());
    EXPECT_EQ(plan->kv_bytes_per_token() * kernels::kPageTokens,
              static_cast<std::size_t>(5 - number) * kv.page_bytes());
    EXPECT_EQ(pool->pages_needed(*plan, tokens), slots + (5 - number) * 5) << number;
    {
      const auto prefix = pool->allocate(plan, tokens);
      ASSERT_TRUE(prefix.has_value());
      EXPECT_EQ(pool->total_pages() - pool->free_pages(), pool->pages_needed(*plan, tokens));
      EXPECT_EQ(pool->state_bytes_used(), static_cast<std::size_t>(slots) * pool->page_bytes());
      const std::int64_t before = pool->free_pages();
      const auto child = pool->fork(*prefix, tokens, 2 * tokens);
      ASSERT_TRUE(child.has_value());
      EXPECT_EQ(before - pool->free_pages(), pool->pages_to_fork(*plan, tokens, 2 * tokens));
      EXPECT_EQ(pool->state_bytes_used(), 2 * static_cast<std::size_t>(slots) * pool->page_bytes());
    }
    EXPECT_EQ(pool->free_pages(), pool->total_pages()) << number;
    EXPECT_EQ(pool->state_bytes_used(), 0u);
  }
}

LlamaConfig small_config() {
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

// A trained layer's tensors: unlike the teacher's and unlike each other.
DslaLayerTensors trained(const LlamaConfig& c, const DslaVariant& variant, unsigned seed) {
  std::mt19937 random(seed);
  const auto fill = [&](std::size_t count, double scale, double centre = 0) {
    std::vector<float> values(count);
    std::normal_distribution<double> normal(centre, scale);
    for (float& value : values) value = static_cast<float>(normal(random));
    return values;
  };
  const auto hidden = static_cast<std::size_t>(c.hidden_size), d = static_cast<std::size_t>(c.head_dim);
  const std::size_t q = static_cast<std::size_t>(c.heads) * d, kv = static_cast<std::size_t>(c.kv_heads) * d;
  const std::size_t gates =
      static_cast<std::size_t>(c.kv_heads) * static_cast<std::size_t>(variant.state_width(c.head_dim));
  DslaLayerTensors tensors;
  const auto expand_k = static_cast<std::size_t>(variant.expand_k);
  tensors.q = fill(q * expand_k * hidden, 0.15);
  tensors.k = fill(kv * expand_k * hidden, 0.15);
  tensors.v = fill(kv * hidden, 0.15);
  tensors.o = fill(q * hidden, 0.15);
  tensors.g1 = fill(gates * hidden, 0.3);
  tensors.g2 = fill(gates * hidden, 0.3);
  tensors.c1 = fill(gates, 1, variant.history_bias);
  tensors.c2 = fill(gates, 1, variant.recency_bias);
  tensors.alpha = fill(variant.alpha_per_head ? 2 * static_cast<std::size_t>(c.heads) : 2, 0.7);
  if (variant.output_norm) tensors.o_norm = fill(d, 0.2, 1);
  if (variant.window > 0) tensors.share = fill(static_cast<std::size_t>(c.heads), 0.7);
  return tensors;
}

DslaVariant variant(const char* name, void (*change)(DslaVariant&)) {
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

const std::vector<Variants>& variants() {
  static const std::vector<Variants> kVariants = {
      variant("paper", [](DslaVariant&) {}),
      variant("rotary", [](DslaVariant& v) { v.rotary = true; }),
      variant("gates apart", [](DslaVariant& v) { v.history_bias = 6, v.recency_bias = -6; }),
      variant("elu", [](DslaVariant& v) { v.feature_map = FeatureMap::kElu; }),
      variant("softmax", [](DslaVariant& v) { v.feature_map = FeatureMap::kSoftmax; }),
      variant("unit", [](DslaVariant& v) { v.feature_map = FeatureMap::kUnit; }),
      variant("softmax pair", [](DslaVariant& v) { v.feature_map = FeatureMap::kSoftmaxPair; }),
      variant("norm", [](DslaVariant& v) { v.output_norm = true; }),
      variant("alpha per head", [](DslaVariant& v) { v.alpha_per_head = true; }),
      variant("window", [](DslaVariant& v) { v.rotary = true, v.window = 64; }),
      variant("odd window", [](DslaVariant& v) { v.rotary = true, v.window = 37; }),
      variant("window and softmax pair",
              [](DslaVariant& v) {
                v.window = 40;
                v.rotary = v.output_norm = true;
                v.feature_map = FeatureMap::kSoftmaxPair;
              }),
      variant("everything",
              [](DslaVariant& v) {
                v.window = 40;
                v.rotary = v.output_norm = v.alpha_per_head = true;
                v.feature_map = FeatureMap::kUnit;
                v.history_bias = 6;
                v.recency_bias = -6;
              }),
      variant("window beside unrotated states", [](DslaVariant& v) { v.window = 40; }),
      variant("window beside unrotated pairs",
              [](DslaVariant& v) {
                v.window = 37;
                v.feature_map = FeatureMap::kSoftmaxPair;
              }),
      variant("wider keys", [](DslaVariant& v) { v.expand_k = 2; }),
      variant("wider keys and a map",
              [](DslaVariant& v) { v.expand_k = 3, v.feature_map = FeatureMap::kUnit; }),
      variant("window beside wider keys", [](DslaVariant& v) { v.window = 40, v.expand_k = 2; }),
      variant("window beside pairs of wider keys",
              [](DslaVariant& v) {
                v.window = 37;
                v.expand_k = 2;
                v.output_norm = v.alpha_per_head = true;
                v.feature_map = FeatureMap::kSoftmaxPair;
              }),
      {variant("one narrow and one of wider keys",
               [](DslaVariant& v) {
                 v.window = 40;
                 v.rotary = true;
                 v.feature_map = FeatureMap::kSoftmaxPair;
               }),
       variant("wider keys", [](DslaVariant& v) { v.window = 40, v.expand_k = 3; })},
      {variant("one narrow and one wide",
               [](DslaVariant& v) {
                 v.window = 40;
                 v.rotary = true;
                 v.feature_map = FeatureMap::kSoftmax;
               }),
       variant("wide", [](DslaVariant& v) {
         v.window = 40;
         v.feature_map = FeatureMap::kSoftmaxPair;
       })}};
  return kVariants;
}

std::vector<std::int32_t> noise_ids(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % 120);
  return ids;
}

class Variant : public ::testing::TestWithParam<Variants> {
 protected:
  // What is trained of a layer, packed.
  [[nodiscard]] std::shared_ptr<const DslaWeights> packed(int layer, const ModelWeights& weights) const {
    const testing::ReferenceLayer& trained = layers_.at(layer);
    return distilled_dsla(weights.config, trained.variant, trained.tensors, weights.dtype);
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
  [[nodiscard]] static std::vector<std::int32_t> alone(const std::shared_ptr<const ModelWeights>& weights,
                                                       const EngineRequest& request) {
    const auto engine = engine_over(weights, {.threads = 1});
    EXPECT_TRUE(engine->add(request).ok());
    Collector sink;
    run_to_end(*engine, sink);
    return sink.answers[{request.id, 0}];
  }
  // Requests that join one after the other, while others decode, answer as each does alone.
  static void expect_company_changes_nothing(const std::shared_ptr<const ModelWeights>& weights,
                                             const std::vector<EngineRequest>& requests) {
    const auto together = engine_over(weights, {.threads = 2});
    Collector company;
    for (const EngineRequest& request : requests) {
      ASSERT_TRUE(together->add(request).ok());
      ASSERT_TRUE(together->step(company).ok());
    }
    run_to_end(*together, company);
    for (const EngineRequest& request : requests) {
      EXPECT_EQ((company.answers[{request.id, 0}]), alone(weights, request))
          << "plan " << request.plan->number() << " of " << request.plan->edition();
    }
    EXPECT_EQ(together->caches().free_pages(), together->caches().total_pages());
  }

  // Layers 2 and 0 of three, trained.
  std::map<int, testing::ReferenceLayer> layers_ = {
      {2, {trained(small_config(), GetParam().first, 1), GetParam().first}},
      {0, {trained(small_config(), GetParam().second, 2), GetParam().second}}};
};

// A prefill piece, a shorter one and single tokens of one sequence: every row's logits. The plan
// runs after a step of as many rows without it, whose buffers may be too narrow.
TEST_P(Variant, ComputesWhatTheFormulasSay) {
  const auto weights = random_weights(small_config(), DType::kF32, 5);
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

TEST_P(Variant, CompanyOfOtherPlansAndEditionsDoesNotChangeAnAnswer) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const auto weights = random_weights(small_config(), dtype, 6);
    const PlanSet one = plans(*weights), other = other_plans(*weights);
    std::vector<EngineRequest> requests;
    for (const std::size_t length : {1u, 64u, 130u, 5u, 128u, 17u, 200u, 90u}) {
      for (const PlanSet* edition : {&one, &other}) {
        const RequestId id = requests.size();
        requests.push_back(continuation(id, noise_ids(length, static_cast<unsigned>(id)), 12,
                                        edition->plan(static_cast<int>(id / 2 % 4))));
      }
    }
    expect_company_changes_nothing(weights, requests);
  }
}

TEST_P(Variant, QuestionsOfOneDocumentAnswerAsIfAskedAlone) {
  const auto weights = random_weights(small_config(), DType::kF32, 7);
  const PlanSet all = plans(*weights);
  for (const int plan : {1, 3}) {
    EngineRequest request = continuation(1, noise_ids(150, 3), 12, all.plan(plan));
    request.tails = {noise_ids(5, 10), noise_ids(130, 11), noise_ids(1, 12), noise_ids(64, 13)};
    const auto together = engine_over(weights, {.threads = 2});
    ASSERT_TRUE(together->add(request).ok());
    Collector sink;
    run_to_end(*together, sink);
    for (std::size_t tail = 0; tail < request.tails.size(); ++tail) {
      EngineRequest single = request;
      single.tails = {request.tails[tail]};
      EXPECT_EQ((sink.answers[{1, static_cast<int>(tail)}]), alone(weights, single))
          << "question " << tail << ", plan " << plan;
    }
  }
}

// Whichever tensor the number is in: requests of plans with the layer fail. Others of the same steps, and
// later ones in the memory that they leave, answer as ever.
TEST_P(Variant, ALayerWithANumberThatIsNotFiniteFailsItsPlansAndNobodyElse) {
  using Tensor = std::vector<float> DslaLayerTensors::*;
  using Tensors = DslaLayerTensors;
  constexpr std::array<std::pair<const char*, Tensor>, 11> kTensors = {{{"q", &Tensors::q},
                                                                        {"k", &Tensors::k},
                                                                        {"v", &Tensors::v},
                                                                        {"o", &Tensors::o},
                                                                        {"g1", &Tensors::g1},
                                                                        {"g2", &Tensors::g2},
                                                                        {"c1", &Tensors::c1},
                                                                        {"c2", &Tensors::c2},
                                                                        {"alpha", &Tensors::alpha},
                                                                        {"o_norm", &Tensors::o_norm},
                                                                        {"share", &Tensors::share}}};
  const auto weights = random_weights(small_config(), DType::kF32, 8);
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

INSTANTIATE_TEST_SUITE_P(All, Variant, ::testing::ValuesIn(variants()), [](const auto& test) {
  std::string name = test.param.first.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

// Serves requests of two editions of a chain, the first of which nobody but they hold.
TEST(Editions, AreFreedWithTheirLastSequence) {
  const ChainedModel model("stories260K", kOrder, 3);
  const auto weights = *load_weights(model.path(), DType::kF32);
  std::vector<std::weak_ptr<const DslaWeights>> old_layers;
  const auto engine = engine_over(weights);
  Collector sink;
  {
    const LoadedChain chain = load_chain(model.path(), *weights);
    for (const auto& layer : chain.layers) old_layers.emplace_back(layer);
    const PlanSet plans(*weights, chain);
    EngineRequest document = continuation(1, noise_ids(100, 1), 30, plans.plan(3));
    document.tails = {noise_ids(5, 2), noise_ids(9, 3)};
    ASSERT_TRUE(engine->add(std::move(document)).ok());
    ASSERT_TRUE(engine->add(continuation(2, noise_ids(20, 4), 60, plans.plan(2))).ok());
  }
  const PlanSet plans(*weights, load_chain(model.path(), *weights));
  ASSERT_TRUE(engine->add(continuation(3, noise_ids(20, 5), 200, plans.plan(3))).ok());
  while (sink.done.size() < 2) {
    EXPECT_FALSE(old_layers[0].expired()) << "jobs in work use it";
    ASSERT_TRUE(engine->step(sink).ok());
  }
  for (const auto& layer : old_layers) EXPECT_TRUE(layer.expired());
  EXPECT_EQ(engine->caches().state_bytes_used(), plans.plan(3)->state_bytes()) << "the old slots are back";
  EXPECT_TRUE(engine->cancel(3));
  EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
}

}  // namespace
}  // namespace dslad::worker
