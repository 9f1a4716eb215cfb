// The memory of snapshots: nobody else's need, nobody's wait, and no plan's life.
#include <algorithm>
#include <random>

#include "tests/sanitized.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;

EngineRequest on_document(RequestId id, unsigned document, std::size_t tokens,
                          std::shared_ptr<const Plan> plan) {
  EngineRequest request = continuation(id, noise(tokens, document), 6, std::move(plan));
  request.tails = {noise(5, static_cast<unsigned>(100 + id))};
  request.ignore_eos = true;
  return request;
}

std::int64_t reused(Engine& engine, EngineRequest request) {
  const RequestId id = request.id;
  EXPECT_TRUE(engine.add(std::move(request)).ok());
  Collector sink;
  run_to_end(engine, sink);
  EXPECT_EQ(sink.done.size(), 1u);
  return sink.progress[id].reused;
}

TEST(SnapshotMemory, CountsAsFree) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights, 2);
  const EngineOptions small{.cache_bytes = std::size_t{4} << 20};
  const auto engine = engine_over(weights, small);
  auto without_options = small;
  without_options.prefix_snapshots = false;
  const auto without = engine_over(weights, without_options);
  for (RequestId id = 0; id < 20; ++id) {
    for (Engine* each : {engine.get(), without.get()}) {
      EXPECT_EQ(reused(*each, on_document(id, static_cast<unsigned>(id), 900, plans.plan(id % 3))), 0);
      EXPECT_EQ(each->caches().free_pages(), each->caches().total_pages());
      EXPECT_EQ(each->caches().kv_bytes_used(), 0u);
      EXPECT_EQ(each->caches().state_bytes_used(), 0u);
    }
    for (const auto& plan : plans.plans()) EXPECT_EQ(engine->room(*plan), without->room(*plan));
  }
}

TEST(SnapshotMemory, GivesWayAtOnceToARequestThatTakesTheWholePool) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights, 4);
  for (const int number : {0, 2, 4}) {
    const EngineRequest large = on_document(100, 50, 2'000, plans.plan(number));
    const std::size_t needed = engine_over(weights)->needs(large).cache_bytes;
    const auto engine = engine_over(weights, {.cache_bytes = needed});
    for (RequestId id = 0; id < 6; ++id)
      reused(*engine, on_document(id, static_cast<unsigned>(id), 300, plans.plan(number)));
    for (const bool again : {false, true}) {
      ASSERT_TRUE(engine->add(large).ok());
      EXPECT_TRUE(engine->running(100)) << "plan " << number << ", again: " << again;
      Collector sink;
      run_to_end(*engine, sink);
      EXPECT_EQ(sink.answers[std::make_pair(RequestId{100}, 0)], alone(weights, large, {}));
    }
  }
}

TEST(SnapshotMemory, ADocumentThatFillsThePoolIsStillReusedWithoutStates) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights);
  const EngineRequest request = on_document(1, 1, 2'000, plans.plan(0));
  const std::size_t needed = engine_over(weights)->needs(request).cache_bytes;
  const auto engine = engine_over(weights, {.cache_bytes = needed});
  EXPECT_EQ(reused(*engine, request), 0);
  EXPECT_EQ(reused(*engine, request), 1'920);
}

// Of plan 0 all snapshots save as much for a page: the one that was not used for longest goes.
TEST(SnapshotMemory, GoesWhereItWasNotUsedForLongest) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights);
  const auto request = [&](RequestId id, unsigned document) {
    return on_document(id, document, 600, plans.plan(0));
  };
  const std::size_t needed = engine_over(weights)->needs(request(1, 1)).cache_bytes;
  const auto engine = engine_over(weights, {.cache_bytes = 3 * needed});
  for (const unsigned document : {1u, 2u, 3u}) EXPECT_EQ(reused(*engine, request(document, document)), 0);
  EXPECT_EQ(reused(*engine, request(4, 1)), 512);
  EXPECT_EQ(reused(*engine, request(5, 4)), 0);
  EXPECT_EQ(reused(*engine, request(6, 1)), 512);
  EXPECT_EQ(reused(*engine, request(7, 2)), 0) << "it made room for document 4";
}

// A converted plan's pages save more tokens each than plan 0's.
TEST(SnapshotMemory, GoesWhereAPageSavesLeast) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights, 4);
  const EngineRequest large = on_document(100, 50, 1'500, plans.plan(0));
  const std::size_t needed = engine_over(weights)->needs(large).cache_bytes;
  const auto engine = engine_over(weights, {.cache_bytes = needed + needed / 2});
  reused(*engine, on_document(1, 1, 1'000, plans.plan(4)));
  reused(*engine, on_document(2, 2, 1'000, plans.plan(0)));
  reused(*engine, large);
  EXPECT_EQ(reused(*engine, on_document(3, 1, 1'000, plans.plan(4))), 896);
  EXPECT_EQ(reused(*engine, on_document(4, 2, 1'000, plans.plan(0))), 0);
}

TEST(SnapshotMemory, KeepsNoPlanThatNobodyHas) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  auto plans = std::make_unique<PlanSet>(undistilled_plans(*weights, 4));
  const auto engine = engine_over(weights);
  std::vector<std::weak_ptr<const Plan>> old(plans->plans().begin(), plans->plans().end());
  for (RequestId id = 0; id < 5; ++id)
    reused(*engine, on_document(id, 1, 600, plans->plan(static_cast<int>(id))));
  plans = std::make_unique<PlanSet>(undistilled_plans(*weights, 4));
  for (const auto& plan : old) EXPECT_TRUE(plan.expired());
  for (RequestId id = 0; id < 5; ++id)
    EXPECT_EQ(reused(*engine, on_document(id, 1, 600, plans->plan(static_cast<int>(id)))), 0);
  EXPECT_EQ(reused(*engine, on_document(9, 1, 600, plans->plan(4))), 512);
}

// Documents that share beginnings, of any plans, with one question or several, that come and are cancelled in
// any order, in a pool that holds few of them. Every answer is that of an engine without snapshots, and as
// many run as there.
TEST(SnapshotMemory, ChangesNoAnswerWhateverComes) {
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 7);
  const PlanSet plans = undistilled_plans(*weights, 4);
  std::uint64_t reusing = 0;
  const unsigned seeds = dslad::testing::kSanitized ? 1 : 6;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](unsigned below) { return static_cast<unsigned>(random() % below); };
    const EngineOptions options{.cache_bytes = (std::size_t{1} << 20) + (draw(4) << 19),
                                .prefill_rows = 128 + 128 * static_cast<std::int64_t>(draw(4))};
    const auto engine = engine_over(weights, options);
    std::map<RequestId, EngineRequest> asked;
    Collector sink;
    for (RequestId id = 0; id < 40; ++id) {
      EngineRequest request = continuation(id, noise(300 + 130 * draw(2), 1 + draw(2)), 1 + draw(12),
                                           plans.plan(2 * static_cast<int>(draw(3))));
      for (unsigned extra = draw(3); extra > 0; --extra) request.head.push_back(static_cast<int>(draw(300)));
      request.tails.front() = noise(1 + draw(140), draw(99));
      for (unsigned more = draw(3); more > 0; --more) request.tails.push_back(noise(1 + draw(30), draw(99)));
      if (draw(3) == 0) request.temperature = 1, request.seed = draw(9);
      ASSERT_TRUE(engine->add(request).ok());
      asked.emplace(id, std::move(request));
      for (unsigned steps = draw(9); steps > 0; --steps) ASSERT_TRUE(engine->step(sink).ok());
      if (draw(6) == 0) {
        const RequestId gone = draw(static_cast<unsigned>(id) + 1);
        if (engine->cancel(gone)) asked.erase(gone);
      }
    }
    run_to_end(*engine, sink);
    EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
    EXPECT_EQ(engine->caches().state_bytes_used(), 0u);
    EXPECT_EQ(sink.done.size(), asked.size());
    EXPECT_TRUE(sink.failed.empty());
    reusing += engine->counters().reusing;
    const auto reference = engine_over(weights, {.prefix_snapshots = false});
    Collector expected;
    for (const auto& [id, request] : asked) ASSERT_TRUE(reference->add(request).ok());
    run_to_end(*reference, expected);
    for (const auto& [key, answer] : expected.answers)
      EXPECT_EQ(sink.answers[key], answer) << "seed " << seed;
  }
  EXPECT_GT(reusing, dslad::testing::kSanitized ? 6u : 40u) << "or this tests nothing";
}

}  // namespace
}  // namespace dslad::worker
