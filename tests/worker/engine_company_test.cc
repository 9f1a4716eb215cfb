// What the engine promises of any batch: company does not change an answer, whatever parts a model's layers
// have.
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

// Everything that a Llama's layers need not have, and a rotary embedding with a factor. Windows end within a
// page, at its border and behind a piece's.
LlamaConfig config_with_optional_parts() {
  LlamaConfig config = company_config();
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  config.windows = {0, 20, 64, 150};
  config.rotary_layers = {true, true, false, true};
  config.rope.attention_factor = 1.2;
  return config;
}

struct CompanyCase {
  WeightFormat format;
  bool optional_parts;
};

class Company : public ::testing::TestWithParam<CompanyCase> {
 protected:
  [[nodiscard]] std::shared_ptr<const ModelWeights> weights(std::uint64_t seed) const {
    return random_weights(GetParam().optional_parts ? config_with_optional_parts() : company_config(),
                          GetParam().format, seed);
  }
};

// Lengths around the cuts of pieces, pages and chunks; plans mixed; different threads.
TEST_P(Company, DoesNotChangeAnyGreedyAnswer) {
  const auto weights = this->weights(7);
  const PlanSet plans = undistilled_plans(*weights, 4);
  std::vector<EngineRequest> requests;
  RequestId id = 1;
  for (const std::size_t length : {1u, 5u, 63u, 64u, 65u, 127u, 128u, 129u, 200u, 300u, 17u, 90u}) {
    const int plan = static_cast<int>(id) % 5;
    requests.push_back(continuation(id, noise(length, static_cast<unsigned>(id)), 20, plans.plan(plan)));
    ++id;
  }
  const auto together = engine_over(weights, {.threads = 2});
  Collector sink;
  for (const EngineRequest& request : requests) {
    ASSERT_TRUE(together->add(request).ok());
    ASSERT_TRUE(together->step(sink).ok());  // they join one after the other, while others decode
  }
  run_to_end(*together, sink);
  for (const EngineRequest& request : requests) {
    EXPECT_EQ((sink.answers[{request.id, 0}]), alone(weights, request, {.threads = 1}))
        << "prompt of " << request.head.size() << " tokens, plan " << request.plan->number();
  }
}

TEST_P(Company, QuestionsOfOneDocumentAnswerAsIfAskedAlone) {
  const auto weights = this->weights(8);
  const PlanSet plans = undistilled_plans(*weights, 4);
  for (int plan = 0; plan <= 4; plan += 2) {
    EngineRequest request = continuation(1, noise(150, 3), 12, plans.plan(plan));
    request.tails = {noise(5, 10), noise(130, 11), noise(1, 12), noise(64, 13)};
    const auto engine = engine_over(weights, {});
    ASSERT_TRUE(engine->add(request).ok());
    Collector sink;
    run_to_end(*engine, sink);
    for (std::size_t tail = 0; tail < request.tails.size(); ++tail) {
      EngineRequest single = request;
      single.tails = {request.tails[tail]};
      EXPECT_EQ((sink.answers[{1, static_cast<int>(tail)}]), alone(weights, single, {}))
          << "question " << tail << ", plan " << plan;
    }
    EXPECT_EQ(sink.progress[1].prompt_done, 150 + 5 + 130 + 1 + 64) << "the document is processed once";
  }
}

// A prompt that is read beside others comes in other pieces of a step, and as many of its own.
TEST_P(Company, SeveralPiecesAStepOrOneDoNotChangeTheAnswer) {
  const auto weights = this->weights(9);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto request = continuation(1, noise(700, 1), 20, plans.plan(0));
  const auto expected = alone(weights, request, {.threads = 1, .prefill_rows = 1024});
  EXPECT_EQ(alone(weights, request, {.threads = 3, .prefill_rows = 128}), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Types, Company,
    ::testing::Values(CompanyCase{WeightFormat::kF32, false}, CompanyCase{WeightFormat::kBf16, false},
                      CompanyCase{WeightFormat::kInt8, false}, CompanyCase{WeightFormat::kInt4, false},
                      CompanyCase{WeightFormat::kF32, true}, CompanyCase{WeightFormat::kBf16, true}),
    [](const auto& tested) {
      return std::string(to_string(tested.param.format)) +
             (tested.param.optional_parts ? "_optional_parts" : "");
    });

// Each part on its own: an engine that left it out would answer as the plain model does.
TEST(OptionalParts, EachChangesTheAnswer) {
  const LlamaConfig all = config_with_optional_parts();
  std::vector<LlamaConfig> configs(8, all);
  configs[1].qkv_bias = configs[2].output_bias = configs[3].mlp_bias = configs[4].qk_norm = false;
  configs[5].windows.clear();
  configs[6].rotary_layers.clear();
  configs[7].rope.attention_factor = 1.0;
  std::vector<std::vector<std::int32_t>> answers;
  for (const LlamaConfig& config : configs) {
    // The matrices of all are the same: what only some have is drawn anew.
    const auto weights = random_weights(company_config(), WeightFormat::kF32, 9);
    const auto with_parts = std::const_pointer_cast<ModelWeights>(random_weights(all, WeightFormat::kF32, 9));
    auto changed = std::const_pointer_cast<ModelWeights>(weights);
    changed->config = config;
    for (std::size_t layer = 0; layer < changed->layers.size(); ++layer) {
      LayerWeights& to = changed->layers[layer];
      LayerWeights& from = with_parts->layers[layer];
      if (config.qkv_bias) to.qkv_bias = std::move(from.qkv_bias);
      if (config.output_bias) to.output_bias = std::move(from.output_bias);
      if (config.mlp_bias) to.gate_up_bias = std::move(from.gate_up_bias);
      if (config.mlp_bias) to.down_bias = std::move(from.down_bias);
      if (config.qk_norm) to.q_norm = std::move(from.q_norm);
      if (config.qk_norm) to.k_norm = std::move(from.k_norm);
    }
    answers.push_back(
        alone(weights, continuation(1, noise(200, 1), 24, undistilled_plans(*weights).plan(0)), {}));
  }
  for (std::size_t i = 1; i < answers.size(); ++i) EXPECT_NE(answers[i], answers[0]) << "configuration " << i;
}

}  // namespace
}  // namespace dslad::worker
