// Answers behind a snapshot: the same, token for token, as those of an engine that reads every document.
#include <array>
#include <random>

#include "tests/worker/trained_layers.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

// A question on a document.
EngineRequest question(RequestId id, const std::vector<std::int32_t>& document,
                       std::vector<std::vector<std::int32_t>> tails, std::shared_ptr<const Plan> plan) {
  EngineRequest request = continuation(id, document, 8, std::move(plan));
  request.tails = std::move(tails);
  request.ignore_eos = true;
  return request;
}

// Of an engine that has seen nothing before.
Answers fresh(const std::shared_ptr<const ModelWeights>& weights, const EngineRequest& request) {
  const auto engine = engine_over(weights, {.threads = 1, .prefix_snapshots = false});
  EXPECT_TRUE(engine->add(request).ok());
  Collector sink;
  run_to_end(*engine, sink);
  EXPECT_EQ(engine->counters().reused_tokens, 0u);
  return sink.answers;
}

// Asks, and holds the answers to those of an engine that has seen nothing; tokens reused.
std::int64_t ask(Engine& engine, const std::shared_ptr<const ModelWeights>& weights,
                 const EngineRequest& request) {
  EXPECT_TRUE(engine.add(request).ok());
  Collector sink;
  run_to_end(engine, sink);
  EXPECT_EQ(sink.answers, fresh(weights, request))
      << "request " << request.id << ", plan " << request.plan->number();
  EXPECT_EQ(sink.progress[request.id].prompt_done, sink.progress[request.id].prompt_total);
  return sink.progress[request.id].reused;
}

std::vector<std::int32_t> joined(std::vector<std::int32_t> first, const std::vector<std::int32_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

std::vector<std::int32_t> first_of(const std::vector<std::int32_t>& ids, std::size_t count) {
  return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)};
}

// Whatever a converted layer keeps, and beside what: all of it is as it was at the cut.
TEST_P(Variant, AnswersBehindASnapshotAsIfTheDocumentWereReadAgain) {
  const auto weights = random_weights(small_config(), WeightFormat::kF32, 8);
  const PlanSet all = plans(*weights);
  for (int number = 0; number <= 3; ++number) {
    const auto engine = engine_over(weights);
    const auto& plan = all.plan(number);
    const auto document = noise_ids(430, 4);
    EXPECT_EQ(ask(*engine, weights, question(1, document, {noise_ids(9, 1)}, plan)), 0);
    EXPECT_EQ(ask(*engine, weights, question(2, document, {noise_ids(20, 2)}, plan)), 384);
    EngineRequest several = question(3, document, {noise_ids(9, 1), noise_ids(1, 5), noise_ids(7, 6)}, plan);
    EXPECT_EQ(ask(*engine, weights, several), 384);
    EngineRequest sampled = question(4, document, {noise_ids(9, 1), noise_ids(9, 7)}, plan);
    sampled.temperature = 1.0f;
    sampled.seed = 11;
    EXPECT_EQ(ask(*engine, weights, sampled), 384);
    EXPECT_EQ(ask(*engine, weights, question(5, document, {{}}, plan)), 384) << "the head alone";
    EXPECT_EQ(engine->counters().reusing, 4u);
    EXPECT_EQ(engine->counters().prompt_tokens + engine->counters().reused_tokens,
              5 * 430u + 9 + 20 + (9 + 1 + 7) + (9 + 9));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Variant, ::testing::ValuesIn(variants()), name_of);

struct ModelCase {
  const char* name;
  WeightFormat format;
  bool optional_parts;
};

class Prefix : public ::testing::TestWithParam<ModelCase> {
 protected:
  [[nodiscard]] std::shared_ptr<const ModelWeights> weights() const {
    LlamaConfig config = company_config();
    if (GetParam().optional_parts) {
      config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
      config.windows = {0, 20, 64, 150};
      config.rotary_layers = {true, true, false, true};
    }
    return random_weights(config, GetParam().format, 7);
  }
};

// Lengths around the cuts of pieces: at least a token of the head is read, so that there are logits.
TEST_P(Prefix, IsReusedUpToTheLastCutBeforeTheHeadsEnd) {
  const auto weights = this->weights();
  const PlanSet plans = undistilled_plans(*weights);
  for (const auto& [length, reused] : std::vector<std::pair<std::size_t, std::int64_t>>{
           {100, 0}, {256, 0}, {257, 256}, {384, 256}, {385, 384}, {700, 640}}) {
    const auto engine = engine_over(weights);
    const auto document = noise(length, 1);
    EXPECT_EQ(ask(*engine, weights, question(1, document, {{}}, plans.plan(0))), 0);
    EXPECT_EQ(ask(*engine, weights, question(2, document, {{}}, plans.plan(0))), reused) << length;
    EXPECT_EQ(ask(*engine, weights, question(3, document, {noise(3, 2)}, plans.plan(0))), reused) << length;
  }
}

// Keys and values of every token are there; states are those of the cut alone.
TEST_P(Prefix, MayBeThatOfAnotherDocument) {
  const auto weights = this->weights();
  const PlanSet plans = undistilled_plans(*weights, 3);
  for (const auto& plan : plans.plans()) {
    const bool states = plan->number() > 0;
    const auto engine = engine_over(weights);
    const auto document = noise(700, 1);
    EXPECT_EQ(ask(*engine, weights, question(1, document, {noise(3, 2)}, plan)), 0);
    EXPECT_EQ(ask(*engine, weights, question(2, joined(document, noise(300, 3)), {noise(3, 2)}, plan)), 640);
    EXPECT_EQ(ask(*engine, weights, question(3, joined(document, noise(300, 3)), {noise(4, 2)}, plan)), 896);
    EXPECT_EQ(ask(*engine, weights, question(4, joined(first_of(document, 400), noise(300, 4)), {{}}, plan)),
              states ? 0 : 384);
    EXPECT_EQ(ask(*engine, weights, question(5, first_of(document, 520), {{}}, plan)), states ? 0 : 512);
    EXPECT_EQ(ask(*engine, weights, question(6, noise(700, 9), {noise(3, 2)}, plan)), 0);
  }
}

TEST_P(Prefix, IsOfOnePlanAlone) {
  const auto weights = this->weights();
  const PlanSet plans = undistilled_plans(*weights), same_again = undistilled_plans(*weights);
  const auto engine = engine_over(weights);
  EXPECT_EQ(ask(*engine, weights, question(1, noise(400, 1), {{}}, plans.plan(0))), 0);
  EXPECT_EQ(ask(*engine, weights, question(2, noise(400, 1), {{}}, same_again.plan(0))), 0);
  EXPECT_EQ(ask(*engine, weights, question(3, noise(400, 1), {{}}, plans.plan(0))), 384);
}

INSTANTIATE_TEST_SUITE_P(Models, Prefix,
                         ::testing::Values(ModelCase{"f32", WeightFormat::kF32, false},
                                           ModelCase{"bf16", WeightFormat::kBf16, false},
                                           ModelCase{"int4", WeightFormat::kInt4, false},
                                           ModelCase{"optional_parts", WeightFormat::kF32, true}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(PrefixSnapshots, AreNotTakenWhereNobodyWantsThem) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.prefix_snapshots = false});
  for (const RequestId id : {1u, 2u})
    EXPECT_EQ(ask(*engine, weights, question(id, noise(400, 1), {{}}, plans.plan(0))), 0);
}

// Reused tokens are done from the start, but nothing has begun.
TEST(PrefixSnapshots, ReusedTokensAreDoneAtOnceAndLeaveLessToRead) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.prefill_rows = 128});
  const auto document = noise(1'000, 1);
  ask(*engine, weights, question(1, document, {noise(3, 2)}, plans.plan(0)));
  const std::int64_t wanted = engine->wants(*plans.plan(0));
  for (RequestId id = 2; id < 18; ++id)
    ask(*engine, weights, question(id, document, {noise(3, 2)}, plans.plan(0)));
  EXPECT_GT(engine->wants(*plans.plan(0)), wanted) << "such documents fill no step";
  ASSERT_TRUE(engine->add(question(18, document, {noise(3, 2)}, plans.plan(0))).ok());
  EXPECT_TRUE(engine->running(18));
  EXPECT_FALSE(engine->begun(18));
  Collector sink;
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->begun(18));
  EXPECT_EQ(sink.progress[18].prompt_done, 1'000);
}

// Questions that come as jobs of their own, at once: the document is read once, by the first.
TEST_P(Variant, QuestionsThatComeAtOnceWaitForTheFirstToReadTheirDocument) {
  const auto weights = random_weights(small_config(), WeightFormat::kF32, 8);
  const PlanSet all = plans(*weights);
  for (int number = 0; number <= 3; ++number) {
    for (const bool cancelled : {false, true}) {
      const auto engine = engine_over(weights, {.prefill_rows = 256});  // a piece of each document a step
      const auto document = noise_ids(430, 4);
      std::map<RequestId, EngineRequest> asked;
      for (RequestId id = 0; id < 6; ++id) {
        EngineRequest request =
            question(id, document, {noise_ids(5, 20 + static_cast<unsigned>(id))}, all.plan(number));
        if (id == 2) request.tails.push_back(noise_ids(3, 30)), request.tails.push_back(noise_ids(9, 31));
        if (id == 4) request.head = noise_ids(300, 5);
        ASSERT_TRUE(engine->add(request).ok());
        asked.emplace(id, std::move(request));
      }
      Collector sink;
      ASSERT_TRUE(engine->step(sink).ok());
      EXPECT_TRUE(engine->begun(0));
      EXPECT_FALSE(engine->begun(1));
      EXPECT_TRUE(engine->begun(4)) << "another document";
      if (cancelled) {
        EXPECT_TRUE(engine->cancel(0));
        asked.erase(0);
      }
      run_to_end(*engine, sink);
      for (const auto& [id, request] : asked) {
        for (const auto& [key, answer] : fresh(weights, request))
          EXPECT_EQ(sink.answers[key], answer) << number;
        const bool reads = id == 4 || id == (cancelled ? 1 : 0);
        EXPECT_EQ(sink.progress[id].reused, reads ? 0 : 384) << id;
      }
      EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
      EXPECT_EQ(engine->caches().state_bytes_used(), 0u);
    }
  }
}

TEST(PrefixSnapshots, OutliveACancelledRequestFromTheCutOn) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights, 4);
  for (const int number : {0, 2, 4}) {
    const auto engine = engine_over(weights, {.prefill_rows = 128});
    const auto& plan = plans.plan(number);
    Collector ignored;
    for (const auto& [steps, reused] : std::vector<std::pair<int, std::int64_t>>{{2, 0}, {3, 384}}) {
      ASSERT_TRUE(engine->add(question(1, noise(500, 1), {noise(3, 2), noise(4, 3)}, plan)).ok());
      for (int i = 0; i < steps; ++i) ASSERT_TRUE(engine->step(ignored).ok());
      EXPECT_TRUE(engine->cancel(1));
      EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
      EXPECT_EQ(engine->caches().state_bytes_used(), 0u);
      EngineRequest next = question(2, noise(500, 1), {noise(3, 2)}, plan);
      ASSERT_TRUE(engine->add(next).ok());
      Collector sink;
      ASSERT_TRUE(engine->step(sink).ok());
      EXPECT_EQ(sink.progress[2].reused, reused);
      EXPECT_TRUE(engine->cancel(2));
    }
    EXPECT_EQ(ask(*engine, weights, question(3, noise(500, 1), {noise(3, 2)}, plan)), 384);
  }
}

}  // namespace
}  // namespace dslad::worker
