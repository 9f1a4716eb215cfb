// Steps of the engine that are begun before the last one's tokens are known, on a CUDA device without a GPU.
#include <algorithm>
#include <limits>
#include <utility>

#include "tests/kernels/cuda_on_host/host_device.h"
#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::WeightFormat;
using kernels::cuda::testing::HostDevice;

constexpr EngineOptions kAhead = {.cache_bytes = std::size_t{8} << 20};
constexpr EngineOptions kNotAhead = {.cache_bytes = std::size_t{8} << 20, .look_ahead = false};

class CudaEngineAhead : public ::testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<Engine> engine(const EngineOptions& options) const {
    return engine_over(weights, options);
  }
  [[nodiscard]] EngineRequest request(unsigned id, std::int64_t max_tokens, int plan) const {
    EngineRequest request =
        continuation(id, noise(std::size_t{40} + 9 * std::size_t{id}, id), max_tokens, plans.plan(plan));
    request.ignore_eos = true;
    return request;
  }
  // Several plans and lengths; one samples, one has questions.
  [[nodiscard]] std::vector<EngineRequest> company() const {
    std::vector<EngineRequest> requests = {request(1, 14, 0), request(2, 9, 2), request(3, 6, 1)};
    requests[1].temperature = 0.8f;
    requests[2].tails = {noise(4, 10), noise(3, 11), noise(5, 12), noise(6, 13)};
    return requests;
  }
  // What answers become, and the engine's counters.
  static std::pair<Answers, EngineCounters> run(Engine& engine, const std::vector<EngineRequest>& requests) {
    for (const EngineRequest& request : requests) EXPECT_TRUE(engine.add(request).ok());
    Collector sink;
    run_to_end(engine, sink);
    EXPECT_EQ(sink.done.size(), requests.size());
    return {sink.answers, engine.counters()};
  }

  static LlamaConfig two_layers() {
    LlamaConfig config = company_config();
    config.layers = 2;
    return config;
  }

  std::shared_ptr<HostDevice> device = std::make_shared<HostDevice>();
  std::shared_ptr<const ModelWeights> weights = random_weights(two_layers(), WeightFormat::kF32, 9, device);
  PlanSet plans = undistilled_plans(*weights, 2);
};

TEST_F(CudaEngineAhead, TextIsAsWithoutIt) {
  const auto [expected, without] = run(*engine(kNotAhead), company());
  const auto [text, with] = run(*engine(kAhead), company());
  EXPECT_EQ(text, expected);
  EXPECT_EQ(without.ahead, 0u);
  EXPECT_GT(with.ahead, 6u);
  EXPECT_EQ(with.steps, without.steps) << "answers that end where it is known leave no step in vain";
  EXPECT_EQ(with.output_tokens, without.output_tokens);
}

// Tokens that end answers are not known when the next step begins.
TEST_F(CudaEngineAhead, AnAnswerThatEndsByItselfLeavesTheOthersAsTheyAre) {
  std::vector<EngineRequest> requests = company();
  const auto [whole, counters] = run(*engine(kNotAhead), requests);
  requests[0].ends = {whole.at({1, 0})[6]};
  requests[2].ends = {whole.at({3, 1})[2], whole.at({3, 3})[0]};
  for (EngineRequest& request : requests) request.ignore_eos = false;
  const auto [expected, without] = run(*engine(kNotAhead), requests);
  ASSERT_LT(expected.at({1, 0}).size(), whole.at({1, 0}).size());
  const auto ahead = engine(kAhead);
  EXPECT_EQ(run(*ahead, requests).first, expected);
  EXPECT_EQ(ahead->caches().free_pages(), ahead->caches().total_pages()) << "and all memory is back";
  EXPECT_EQ(run(*ahead, requests).first, expected) << "in memory that steps in vain wrote to";
}

TEST_F(CudaEngineAhead, TheHostSettlesAStepWhileTheNextRuns) {
  const auto engine = this->engine(kAhead);
  ASSERT_TRUE(engine->add(request(1, 8, 1)).ok());
  Collector sink;
  std::vector<bool> at_work;
  while (*engine->step(sink)) at_work.push_back(device->under_way() > 0);
  // The prompt's, whose token the host must know first; six that another follows; the last.
  EXPECT_EQ(at_work, (std::vector{false, true, true, true, true, true, true, false}));
  EXPECT_EQ((sink.answers[{1, 0}].size()), 8u);
}

TEST_F(CudaEngineAhead, WhoComesJoinsTheStepBehindTheNext) {
  const std::vector<EngineRequest> requests = {request(1, 14, 0), request(2, 9, 2)};
  Answers expected;
  for (const EngineRequest& request : requests) expected.merge(run(*engine(kNotAhead), {request}).first);
  const auto engine = this->engine(kAhead);
  ASSERT_TRUE(engine->add(requests[0]).ok());
  Collector sink;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(*engine->step(sink));
  ASSERT_TRUE(engine->add(requests[1]).ok());
  ASSERT_TRUE(*engine->step(sink));
  EXPECT_FALSE(engine->begun(2));
  ASSERT_TRUE(*engine->step(sink));
  EXPECT_TRUE(engine->begun(2));
  run_to_end(*engine, sink);
  EXPECT_EQ(sink.answers, expected);
}

// Alone, and with another whose step it was, too; its memory goes to one that comes.
TEST_F(CudaEngineAhead, ARequestIsCancelledWhileItsStepRuns) {
  const auto expected = run(*engine(kNotAhead), {request(2, 9, 2)}).first;
  const auto third = run(*engine(kNotAhead), {request(3, 9, 1)}).first;
  for (const bool alone : {true, false}) {
    const auto engine = this->engine(kAhead);
    ASSERT_TRUE(engine->add(request(1, 14, 0)).ok());
    if (!alone) ASSERT_TRUE(engine->add(request(2, 9, 2)).ok());
    Collector sink;
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(*engine->step(sink));
    ASSERT_GT(device->under_way(), 0);
    const std::size_t before = sink.answers[{1, 0}].size();
    EXPECT_TRUE(engine->cancel(1));
    ASSERT_TRUE(engine->add(request(3, 9, 1)).ok());
    run_to_end(*engine, sink);
    EXPECT_EQ((sink.answers[{1, 0}].size()), before) << "and no token more";
    EXPECT_EQ((sink.answers[{3, 0}]), (third.at({3, 0})));
    if (!alone) EXPECT_EQ((sink.answers[{2, 0}]), (expected.at({2, 0})));
    EXPECT_EQ(engine->caches().free_pages(), engine->caches().total_pages());
  }
}

// The next step takes in a token that the device did not draw: nobody's, and nobody is harmed.
TEST_F(CudaEngineAhead, ARequestWhoseLogitsAreNotFiniteFailsAlone) {
  const std::vector<EngineRequest> requests = {request(1, 14, 0), request(2, 14, 2)};
  const auto expected = run(*engine(kNotAhead), requests).first;
  const std::vector<std::int32_t>& answer = expected.at({1, 0});
  const auto taken_in = [&](std::int32_t token) {
    return std::ranges::count(requests[0].head, token) + std::ranges::count(requests[1].head, token) +
               std::ranges::count(expected.at({2, 0}), token) >
           0;
  };
  const auto poisoned = std::ranges::find_if_not(answer.begin() + 2, answer.end() - 4, taken_in);
  ASSERT_NE(poisoned, answer.end() - 4);
  const std::vector<float> row(96, std::numeric_limits<float>::quiet_NaN());
  weights->embedding->pack_rows(*poisoned, 1, row.data());

  const auto ahead = engine(kAhead);
  for (const EngineRequest& request : requests) ASSERT_TRUE(ahead->add(request).ok());
  Collector sink;
  run_to_end(*ahead, sink);
  ASSERT_TRUE(sink.failed.contains(1));
  EXPECT_EQ(sink.failed.at(1).code, ErrorCode::kCorrupt);
  EXPECT_EQ((sink.answers[{1, 0}]), std::vector(answer.begin(), std::ranges::find(answer, *poisoned) + 1));
  EXPECT_EQ((sink.answers[{2, 0}]), (expected.at({2, 0})));
  EXPECT_EQ(ahead->caches().free_pages(), ahead->caches().total_pages());
}

TEST_F(CudaEngineAhead, LikelihoodsAreToldBeforeTheNextStepBegins) {
  EngineRequest likely = request(1, 8, 1);
  likely.likelihoods = true;
  const auto run_for_log_p = [&](const EngineOptions& options) {
    const auto engine = this->engine(options);
    EXPECT_TRUE(engine->add(likely).ok());
    Collector sink;
    run_to_end(*engine, sink);
    EXPECT_EQ(engine->counters().ahead, 0u);
    return sink.log_ps[{1, 0}];
  };
  EXPECT_EQ(run_for_log_p(kAhead), run_for_log_p(kNotAhead));
}

// A step's time is the host's from one step's end to the next: what runs beside counts once.
TEST_F(CudaEngineAhead, TimesOfStepsAddUpToNoMoreThanThatOfAll) {
  const auto engine = this->engine(kAhead);
  const auto start = std::chrono::steady_clock::now();
  run(*engine, company());
  const std::chrono::duration<double, std::milli> all = std::chrono::steady_clock::now() - start;
  EXPECT_GT(engine->counters().ahead, 0u);
  EXPECT_LE(engine->counters().busy_ms, all.count());
}

}  // namespace
}  // namespace dslad::worker
