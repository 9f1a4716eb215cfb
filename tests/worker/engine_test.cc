// What the engine promises: plans are pinned, memory is exact, bad requests are refused.
#include <algorithm>
#include <limits>
#include <random>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

TEST(Engine, PrefillInPiecesAndDecodeAgreeWithOnePass) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 9);
  const PlanSet plans = undistilled_plans(*weights, 4);
  for (const int plan : {0, 4}) {
    const auto prompt = noise(70, 5);
    const auto answer = alone(weights, continuation(1, prompt, 10, plans.plan(plan)), {});
    // Feeding the answer's beginning as prompt must continue with the answer's end.
    std::vector<std::int32_t> longer = prompt;
    longer.insert(longer.end(), answer.begin(), answer.begin() + 6);
    const std::vector<std::int32_t> rest(answer.begin() + 6, answer.end());
    EXPECT_EQ(alone(weights, continuation(2, longer, 4, plans.plan(plan)), {}), rest) << "plan " << plan;
  }
}

TEST(Engine, PlansChangeTheAnswerButNotThatOfOthers) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 10);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto plain = alone(weights, continuation(1, noise(80, 1), 16, plans.plan(0)), {});
  const auto converted = alone(weights, continuation(1, noise(80, 1), 16, plans.plan(4)), {});
  EXPECT_NE(plain, converted);
}

TEST(Engine, PlansThatAreAddedInMidFlightLeaveRunningRequestsAlone) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 11);
  PlanSet plans = undistilled_plans(*weights);
  const auto expected = alone(weights, continuation(1, noise(100, 2), 24, plans.plan(0)), {});
  const auto engine = engine_over(weights);
  Collector sink;
  ASSERT_TRUE(engine->add(continuation(1, noise(100, 2), 24, plans.plan(0))).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine->step(sink).ok());
  ASSERT_TRUE(plans.extend(*weights, 4).ok());
  ASSERT_TRUE(engine->add(continuation(2, noise(100, 2), 24, plans.plan(4))).ok());
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}]), expected);
  EXPECT_NE((sink.answers[{2, 0}]), expected);
}

TEST(Engine, ReturnsEveryPageAndNeverExceedsItsBudget) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 12);
  const PlanSet plans = undistilled_plans(*weights, 4);
  // Room for about three of the requests below: the rest must wait, none may fail.
  const auto engine = engine_over(weights, {.cache_bytes = std::size_t{1} << 20});
  const std::int64_t total = engine->caches().total_pages();
  for (RequestId id = 0; id < 12; ++id) {
    EngineRequest request =
        continuation(id, noise(200, static_cast<unsigned>(id)), 30, plans.plan(static_cast<int>(id % 5)));
    if (id % 3 == 0) request.tails = {noise(9, 1), noise(70, 2), noise(3, 3)};
    ASSERT_TRUE(engine->add(std::move(request)).ok());
  }
  Collector sink;
  bool waited = false;
  for (;;) {
    const auto stepped = engine->step(sink);
    ASSERT_TRUE(stepped.ok());
    if (!*stepped) break;
    waited = waited || engine->waiting() > 0;
    EXPECT_GE(engine->caches().free_pages(), 0);
    EXPECT_LE(engine->caches().kv_bytes_used() + engine->caches().state_bytes_used(),
              static_cast<std::size_t>(total) * engine->caches().page_bytes());
  }
  EXPECT_TRUE(waited);
  EXPECT_EQ(sink.done.size(), 12u);
  EXPECT_EQ(engine->caches().free_pages(), total);
  EXPECT_EQ(engine->caches().state_bytes_used(), 0u);
}

// Ends every answer but the first after its first token.
class Impatient : public Collector {
 public:
  bool on_token(RequestId id, int tail, std::int32_t token) override {
    return Collector::on_token(id, tail, token) && tail == 0;
  }
};

TEST(Engine, AnsweredQuestionsReturnTheirMemoryWhileOthersGoOn) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 12);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights, {});
  EngineRequest request = continuation(1, noise(200, 1), 40, plans.plan(4));
  request.tails = {noise(9, 1), noise(9, 2), noise(9, 3), noise(9, 4)};
  ASSERT_TRUE(engine->add(std::move(request)).ok());
  Impatient sink;
  std::size_t most = 0;
  while (sink.answers[{1, 0}].size() < 10) {
    ASSERT_TRUE(engine->step(sink).ok());
    most = std::max(most, engine->caches().state_bytes_used());
  }
  // Of the head and its four lanes, the head and one are left.
  EXPECT_EQ(engine->caches().state_bytes_used() * 5, most * 2);
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}].size()), 40u);
  EXPECT_EQ(engine->caches().state_bytes_used(), 0u);
}

// A job with many questions, and one that comes when they are at work: it is answered long before they all
// are.
void expect_small_job_between(const EngineOptions& options) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 12);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, options);
  EngineRequest many = continuation(1, noise(200, 1), 12, plans.plan(0));
  many.tails.clear();
  for (unsigned i = 0; i < 60; ++i) many.tails.push_back(noise(9, i));
  ASSERT_TRUE(engine->add(many).ok());
  Collector sink;
  while (sink.answers.empty()) ASSERT_TRUE(engine->step(sink).ok());
  ASSERT_TRUE(engine->add(continuation(2, noise(100, 99), 12, plans.plan(0))).ok());
  while (sink.done.empty()) ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_EQ(sink.done.front(), 2u);
  EXPECT_LT(sink.ends.size(), 40u) << "of sixty questions";
  run_to_end(*engine, sink);
  EXPECT_EQ(sink.done.size(), 2u);
  EXPECT_EQ(sink.ends.size(), 61u);
  EXPECT_EQ(engine->caches().kv_bytes_used(), 0u);
}

TEST(Engine, ASmallJobIsNotHeldUpByAnothersManyQuestions_ForWantOfSequences) {
  expect_small_job_between({.max_sequences = 8});
}

TEST(Engine, ASmallJobIsNotHeldUpByAnothersManyQuestions_ForWantOfMemory) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 12);
  const PlanSet plans = undistilled_plans(*weights);
  const auto roomy = engine_over(weights);
  const auto bytes = [&](std::int64_t tokens) {
    return static_cast<std::size_t>(roomy->caches().pages_needed(*plans.plan(0), tokens)) *
           roomy->caches().page_bytes();
  };
  expect_small_job_between({.cache_bytes = bytes(200) + 8 * bytes(60)});
}

TEST(Engine, ARequestThatWaitsForMemoryIsTriedAgainOnlyWhenMemoryHasChanged) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 12);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto roomy = engine_over(weights);
  const auto most = static_cast<std::size_t>(roomy->caches().pages_needed(*plans.plan(2), 600));
  const auto engine = engine_over(weights, {.cache_bytes = most * roomy->caches().page_bytes()});
  ASSERT_TRUE(engine->add(continuation(1, noise(100, 1), 300, plans.plan(2))).ok());
  ASSERT_TRUE(engine->add(continuation(2, noise(100, 2), 300, plans.plan(2))).ok());
  Collector sink;
  while ((sink.answers[{1, 0}].size()) < 10) ASSERT_TRUE(engine->step(sink).ok());
  const std::uint64_t before = engine->counters().refused;
  EXPECT_GT(before, 0u);
  while ((sink.answers[{1, 0}].size()) < 290) ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_EQ(engine->counters().refused, before);
  EXPECT_TRUE(engine->cancel(1));
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->running(2));
  ASSERT_TRUE(engine->add(continuation(3, noise(100, 3), 300, plans.plan(2))).ok());
  ASSERT_TRUE(engine->add(continuation(4, noise(20, 4), 10, plans.plan(0))).ok());
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->cancel(3));  // which waited: another is the first
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->running(4));
  run_to_end(*engine, sink);
}

TEST(Engine, ConvertedLayersNeedMemoryThatDoesNotGrowWithTheDocument) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights, {});
  EXPECT_EQ(engine->caches().pages_needed(*plans.plan(4), 100),
            engine->caches().pages_needed(*plans.plan(4), 2000));
  EXPECT_LT(engine->caches().pages_needed(*plans.plan(2), 2000),
            engine->caches().pages_needed(*plans.plan(0), 2000));
}

TEST(Engine, MemoryThatAPlanDoesNotNeedAdmitsMoreRequests) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto admitted = [&](int plan) {
    const auto engine = engine_over(weights, {.cache_bytes = std::size_t{4} << 20});
    EXPECT_GT(engine->room(*plans.plan(4)), engine->room(*plans.plan(0))) << "of requests as long as can be";
    for (RequestId id = 0; id < 64; ++id)
      EXPECT_TRUE(engine->add(continuation(id, noise(900, 1), 100, plans.plan(plan))).ok());
    EXPECT_EQ(engine->counters().admitted, 64 - engine->waiting());
    return engine->counters().admitted;
  };
  EXPECT_GE(admitted(3), 2 * admitted(0));
  EXPECT_GE(admitted(4), 2 * admitted(3));
}

TEST(Engine, MemoryThatTheNextPlanDoesNotNeedIsThereAtOnce) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights, {.cache_bytes = std::size_t{4} << 20});
  RequestId next = 0;
  const auto fill = [&](int plan) {  // until one waits; how many run on this plan
    int running = 0;
    for (;; ++next, ++running) {
      EXPECT_TRUE(engine->add(continuation(next, noise(900, 1), 100, plans.plan(plan))).ok());
      if (!engine->running(next)) break;
    }
    EXPECT_TRUE(engine->cancel(next++));
    return running;
  };
  const int before = fill(0);
  ASSERT_GE(before, 2);
  EXPECT_EQ(fill(0), 0) << "it is full";
  ASSERT_TRUE(engine->cancel(0));
  const int in_place_of_one = fill(3);  // the plan in force is another
  EXPECT_GE(in_place_of_one, 2) << "where one fitted, without a step, while others run on";
  for (RequestId id = 1; id < static_cast<RequestId>(before); ++id) EXPECT_TRUE(engine->cancel(id));
  EXPECT_GE(in_place_of_one + fill(3), 2 * before);
  Collector sink;
  run_to_end(*engine, sink);
  EXPECT_TRUE(sink.failed.empty());
}

TEST(Engine, AdmitsAtOnceAndSaysHowManyMoreItWould) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.cache_bytes = std::size_t{2} << 20});
  const auto add = [&](RequestId id) {
    ASSERT_TRUE(engine->add(continuation(id, noise(200, 1), 20, plans.plan(0))).ok());
  };
  add(0);
  EXPECT_TRUE(engine->running(0)) << "without a step";
  const std::int64_t room = engine->room(*plans.plan(0));
  ASSERT_GT(room, 2);
  for (RequestId id = 1; id <= static_cast<RequestId>(room); ++id) {
    add(id);
    EXPECT_TRUE(engine->running(id));
    EXPECT_EQ(engine->room(*plans.plan(0)), room - static_cast<std::int64_t>(id));
  }
  add(100);
  EXPECT_FALSE(engine->running(100));
  EXPECT_EQ(engine->waiting(), 1u);
  EXPECT_TRUE(engine->cancel(0));
  Collector sink;
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->running(100));
  EXPECT_FALSE(engine->running(0));
}

TEST(Engine, NoMoreSequencesHaveRoomThanMayRun) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.max_sequences = 3});
  EXPECT_EQ(engine->room(*plans.plan(0)), 3);
  ASSERT_TRUE(engine->add(continuation(1, noise(20, 1), 20, plans.plan(0))).ok());
  EXPECT_EQ(engine->room(*plans.plan(0)), 2);
}

TEST(Engine, WantsNoMoreRequestsThanFillItsNextSteps) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 13);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.prefill_rows = 128});
  Collector sink;
  EXPECT_EQ(engine->wants(*plans.plan(0)), 1) << "it may be as long as the context";
  ASSERT_TRUE(engine->add(continuation(1, noise(1'000, 1), 4, plans.plan(0))).ok());
  EXPECT_TRUE(engine->running(1));
  EXPECT_FALSE(engine->begun(1));
  EXPECT_EQ(engine->wants(*plans.plan(0)), 1) << "it is this one";
  ASSERT_TRUE(engine->step(sink).ok());
  EXPECT_TRUE(engine->begun(1));
  EXPECT_EQ(engine->wants(*plans.plan(0)), 0) << "its prompt fills the next steps";
  while (*engine->step(sink)) {
  }
  for (RequestId id = 2; id < 32; ++id)
    ASSERT_TRUE(engine->add(continuation(id, noise(16, 1), 4, plans.plan(0))).ok());
  EXPECT_EQ(engine->wants(*plans.plan(0)), 16) << "short ones, by the prompts of the latest";
}

TEST(Engine, SaysWhatARequestThatItRefusesNeeds) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 15);
  const PlanSet plans = undistilled_plans(*weights);
  const auto engine = engine_over(weights, {.cache_bytes = std::size_t{256} << 10});
  EXPECT_EQ(engine->needs(continuation(1, noise(3000, 1), 5, plans.plan(0))).context, 3001);
  const EngineRequest large = continuation(1, noise(1500, 1), 5, plans.plan(0));
  ASSERT_FALSE(engine->add(large).ok());
  const std::size_t needed = engine->needs(large).cache_bytes;
  EXPECT_TRUE(engine_over(weights, {.cache_bytes = needed})->add(large).ok());
  EXPECT_FALSE(engine_over(weights, {.cache_bytes = needed - 1})->add(large).ok());
}

TEST(Engine, TakesTheLongestRequestThatItSaysItTakes) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 15);
  const PlanSet plans = undistilled_plans(*weights, 4);
  for (const int number : {0, 2, 4}) {
    for (const std::size_t kib : {256, 900, 20'000}) {
      const auto engine = engine_over(weights, {.cache_bytes = kib << 10});
      const std::int64_t longest = engine->longest(*plans.plan(number));
      EXPECT_LE(longest, 2048);
      for (const std::int64_t head : {longest / 2, longest - 6}) {
        auto request =
            continuation(1, noise(static_cast<std::size_t>(head), 1), longest - head - 3, plans.plan(number));
        request.tails = {noise(3, 1), noise(2, 2)};
        const Status added = engine->add(request);
        EXPECT_TRUE(added.ok()) << kib << " KiB, plan " << number << ": " << added.error().message;
      }
    }
  }
  EXPECT_EQ(engine_over(weights)->longest(*plans.plan(0)), 2048);
}

TEST(Engine, CancelFreesMemoryAndSilencesTheRequest) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 14);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights);
  Collector sink;
  ASSERT_TRUE(engine->add(continuation(1, noise(50, 1), 500, plans.plan(0))).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(engine->step(sink).ok());
  const auto before = sink.answers[{1, 0}].size();
  EXPECT_TRUE(engine->cancel(1));
  EXPECT_FALSE(engine->cancel(1));
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}].size()), before);
  EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
}

// Weights as a test damages them: random_weights made them, nobody else has them.
std::shared_ptr<ModelWeights> damageable(const std::shared_ptr<const ModelWeights>& weights) {
  return std::const_pointer_cast<ModelWeights>(weights);
}

TEST(Engine, WeightsThatAreNotFiniteGiveNoAnswer) {
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
    for (const float odd :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      const auto weights = random_weights(company_config(), format, 20);
      auto norm = std::vector<float>(static_cast<std::size_t>(weights->config.hidden_size), 1.0f);
      norm[17] = odd;
      damageable(weights)->layers[2].mlp_norm = *kernels::Vector::create(*weights->device, norm);
      const PlanSet plans = undistilled_plans(*weights);
      const auto engine = engine_over(weights);
      ASSERT_TRUE(engine->add(continuation(1, noise(50, 1), 500, plans.plan(0))).ok());
      EngineRequest questions = continuation(2, noise(150, 3), 12, plans.plan(0));
      questions.tails = {noise(5, 10), noise(7, 11), noise(6, 12)};
      ASSERT_TRUE(engine->add(questions).ok());
      Collector sink;
      run_to_end(*engine, sink);
      EXPECT_TRUE(sink.answers.empty());
      EXPECT_TRUE(sink.ends.empty());
      EXPECT_TRUE(sink.done.empty());
      ASSERT_EQ(sink.failed.size(), 2u);
      EXPECT_EQ(sink.failed.at(1).code, ErrorCode::kCorrupt);
      EXPECT_NE(sink.failed.at(1).message.find("plan 0"), std::string::npos) << sink.failed.at(1).message;
      EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
      EXPECT_FALSE(engine->running(1));
    }
  }
}

// The embedding of a token that only one of the answers has.
TEST(Engine, ARequestThatFailsInMidAnswerDisturbsNoOther) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 21);
  const PlanSet plans = undistilled_plans(*weights, 2);
  const auto sound = continuation(1, noise(70, 1), 20, plans.plan(0)),
             fails = continuation(2, noise(90, 2), 20, plans.plan(2));
  const auto expected = alone(weights, sound, {}), whole = alone(weights, fails, {});
  const auto is_elsewhere = [&](std::int32_t token) {
    return std::ranges::count(expected, token) + std::ranges::count(sound.head, token) +
               std::ranges::count(fails.head, token) >
           0;
  };
  const auto last = std::find_if_not(whole.begin() + 3, whole.end() - 2, is_elsewhere);
  ASSERT_FALSE(is_elsewhere(*last));
  const auto shown = std::find(whole.begin(), whole.end(), *last) - whole.begin() + 1;
  const std::vector<float> odd(static_cast<std::size_t>(weights->config.hidden_size),
                               std::numeric_limits<float>::quiet_NaN());
  damageable(weights)->embedding->pack_rows(*last, 1, odd.data());
  const auto engine = engine_over(weights);
  ASSERT_TRUE(engine->add(fails).ok());
  ASSERT_TRUE(engine->add(sound).ok());
  Collector sink;
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}]), expected);
  EXPECT_EQ(sink.done, (std::vector<RequestId>{1}));
  ASSERT_TRUE(sink.failed.contains(2));
  EXPECT_EQ((sink.answers[{2, 0}]), (std::vector<std::int32_t>(whole.begin(), whole.begin() + shown)));
  EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
}

TEST(Engine, RefusesWhatCannotRun) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 15);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights, {.cache_bytes = std::size_t{256} << 10});
  const auto code = [&](EngineRequest request) { return engine->add(std::move(request)).error().code; };
  EXPECT_EQ(code(continuation(1, {}, 5, plans.plan(0))), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(continuation(1, noise(2048, 1), 5, plans.plan(0))), ErrorCode::kInvalidArgument)
      << "no room for an answer";
  EXPECT_EQ(code(continuation(1, {300}, 5, plans.plan(0))), ErrorCode::kInvalidArgument)
      << "not in the vocabulary";
  EXPECT_EQ(code(continuation(1, {-1}, 5, plans.plan(0))), ErrorCode::kInvalidArgument);
  LlamaConfig larger = company_config();
  larger.layers = 5;
  const PlanSet of_another = undistilled_plans(*random_weights(larger, WeightFormat::kF32, 15));
  EXPECT_EQ(code(continuation(1, noise(10, 1), 5, of_another.plan(0))), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(continuation(1, noise(1500, 1), 5, plans.plan(0))), ErrorCode::kResourceExhausted)
      << "beyond the cache budget";
  EXPECT_TRUE(engine->add(continuation(1, noise(10, 1), 5, plans.plan(0))).ok());
}

TEST(Engine, AnAnswerEndsWithTheContext) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 16);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const auto engine = engine_over(weights);
  ASSERT_TRUE(engine->add(continuation(1, noise(2040, 1), 100, plans.plan(0))).ok());
  Collector sink;
  run_to_end(*engine, sink);
  EXPECT_EQ((sink.answers[{1, 0}].size()), 8u);
  EXPECT_EQ((sink.ends[{1, 0}]), AnswerEnd::kLength);
}

TEST(Engine, TellsHowLikelyAnAnswerIs_WhateverTheTemperature) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 16);
  const auto plan = undistilled_plans(*weights).plan(0);
  const auto run = [&](std::vector<std::int32_t> head, std::int64_t max_tokens, float temperature,
                       bool asked) {
    auto request = continuation(1, std::move(head), max_tokens, plan);
    request.temperature = temperature;
    request.likelihoods = asked;
    const auto engine = engine_over(weights);
    Collector sink;
    EXPECT_TRUE(engine->add(std::move(request)).ok());
    run_to_end(*engine, sink);
    return std::pair(sink.answers[{1, 0}], sink.log_ps[{1, 0}]);
  };
  const auto head = noise(50, 3);
  EXPECT_EQ(run(head, 3, 0, false).second, 0);
  for (const float temperature : {0.0f, 1.5f}) {
    const auto [tokens, mean] = run(head, 3, temperature, true);
    EXPECT_LT(mean, 0);
    // Token by token, each after a prompt that holds those before it. Draws depend on the place alone.
    auto longer = head;
    double sum = 0;
    for (const std::int32_t token : tokens) {
      const auto [one, log_p] = run(longer, 1, temperature, true);
      EXPECT_EQ(one.at(0), token);
      sum += log_p;
      longer.push_back(token);
    }
    EXPECT_NEAR(mean, sum / 3, 1e-4);
  }
}

TEST(Engine, SamplingDependsOnTheSeedAlone) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 17);
  const PlanSet plans = undistilled_plans(*weights, 4);
  EngineRequest request = continuation(1, noise(20, 1), 16, plans.plan(0));
  request.temperature = 1.0f;
  request.seed = 5;
  const auto first = alone(weights, request, {});
  EXPECT_EQ(alone(weights, request, {.threads = 1}), first);
  request.seed = 6;
  EXPECT_NE(alone(weights, request, {}), first);
}

}  // namespace
}  // namespace dslad::worker
