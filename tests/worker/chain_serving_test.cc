// Requests on plans and editions of a chain side by side: none changes what another is answered.
#include <gmock/gmock.h>

#include "tests/sanitized.h"
#include "tests/worker/chained_model.h"
#include "tests/worker/trained_layers.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;
using testing::ChainedModel;

// Requests that join one after the other, while others decode, answer as each does alone.
void expect_company_changes_nothing(const std::shared_ptr<const ModelWeights>& weights,
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

TEST_P(Variant, CompanyOfOtherPlansAndEditionsDoesNotChangeAnAnswer) {
  for (const WeightFormat format :
       {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    const auto weights = random_weights(small_config(), format, 6);
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
  const auto weights = random_weights(small_config(), WeightFormat::kF32, 7);
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

// How many of a prompt's pieces a step takes in changes no bit, whatever a layer keeps: pages, states, rings
// that a piece is longer than. The last piece is a single row, a few, or whole.
TEST_P(Variant, PiecesThatAStepTakesInTogetherGiveTheLogitsOfStepsOfTheirOwn) {
  LlamaConfig wider = small_config();  // to where AMX multiplies states and pages of bf16
  wider.head_dim = 32;
  LlamaConfig with_parts = small_config_with_optional_parts();
  for (auto [config, format] :
       {std::pair(wider, WeightFormat::kBf16), std::pair(with_parts, WeightFormat::kF32)}) {
    config.context = 1'100;
    layers_ = layers_of(config);
    const auto weights = random_weights(config, format, 6);
    const PlanSet all = plans(*weights);
    for (const std::size_t length : {1u, 127u, 128u, 129u, 130u, 300u, 512u, 641u, 1'000u}) {
      const auto prompt = noise_ids(length, static_cast<unsigned>(length));
      for (const int plan : {0, 2, 3}) {
        const auto expected = logits_by_steps_of(1, weights, all.plan(plan), prompt);
        for (const std::int64_t pieces : {2, 3, 8}) {
          if (pieces > 2 && length <= 128u * 2) break;
          const auto actual = logits_by_steps_of(pieces, weights, all.plan(plan), prompt);
          EXPECT_TRUE(actual == expected) << length << " tokens, " << pieces << " pieces, plan " << plan;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Variant, ::testing::ValuesIn(dslad::testing::sample(variants(), 4)), name_of);

// Serves requests of two editions of a chain, the first of which nobody but they hold.
TEST(Editions, AreFreedWithTheirLastSequence) {
  const ChainedModel model("stories260K", {2, 0, 4, 1, 3}, 3);
  const auto weights = *load_weights(model.path(), WeightFormat::kF32);
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
