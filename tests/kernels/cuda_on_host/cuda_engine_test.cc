// The engine on a CUDA device without a GPU (host_device.h): kernels and backend are those of a GPU, and
// whatever else touches the device's memory is killed.
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/cuda/module.h"
#include "tests/kernels/cuda_on_host/host_device.h"
#include "tests/worker/chained_model.h"
#include "tests/worker/engine_world.h"
#include "worker/engine/measure.h"
#include "worker/eval/token_scorer.h"

namespace dslad::worker {
namespace {

using kernels::RowKind;
using kernels::WeightFormat;
using kernels::cuda::testing::HostDevice;
using testing::ChainedModel;

std::shared_ptr<HostDevice> host_device(std::size_t kib = 64 << 10) {
  return std::make_shared<HostDevice>(kib << 10);
}

enum class Kind : std::uint8_t { kOnHost, kOnGpu };

// Both kinds of device; tests of one that is not there skip themselves.
class CudaEngineOn : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kOnHost) return;
    std::string why;
    gpu_ = kernels::cuda::open_device(0, why);
    if (gpu_ == nullptr) GTEST_SKIP() << "skipped: no CUDA device (" << why << ")";
  }
  [[nodiscard]] std::shared_ptr<kernels::Device> device() const {
    return gpu_ != nullptr ? gpu_ : host_device();
  }

 private:
  std::shared_ptr<kernels::Device> gpu_;
};

INSTANTIATE_TEST_SUITE_P(Devices, CudaEngineOn, ::testing::Values(Kind::kOnHost, Kind::kOnGpu),
                         [](const auto& kind) { return kind.param == Kind::kOnGpu ? "Gpu" : "Host"; });

constexpr EngineOptions kSmall = {.cache_bytes = std::size_t{8} << 20};

void expect_published_tokens(const std::shared_ptr<const ModelWeights>& weights, std::size_t tokens) {
  const auto truth = nlohmann::json::parse(std::ifstream(golden("stories260K") / "golden.json"));
  EngineRequest request = continuation(1, truth["prompt_ids"], static_cast<std::int64_t>(tokens),
                                       undistilled_plans(*weights).plan(0));
  request.ignore_eos = true;
  std::vector<std::int32_t> published = truth["greedy_ids"];
  published.resize(tokens);
  EXPECT_EQ(alone(weights, std::move(request), kSmall), published);
}

TEST_P(CudaEngineOn, GivesThePublishedGreedyTokensInF32AndBf16) {
  expect_published_tokens(golden_weights("stories260K", WeightFormat::kF32, device()), 24);
  expect_published_tokens(golden_weights("stories260K", WeightFormat::kBf16, device()), 12);
}

// As many as logits_of() reads.
std::vector<std::int32_t> some_ids(std::int32_t vocabulary) {
  std::vector<std::int32_t> ids(81);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i) * 37 % vocabulary;
  return ids;
}

// Every row's logits of a sequence: a piece that ends within a page, one that goes on, and single tokens.
std::vector<float> logits_of(const std::shared_ptr<const ModelWeights>& weights,
                             const std::shared_ptr<const Plan>& plan, const std::vector<std::int32_t>& ids) {
  const auto backend = weights->device->make_backend(2);
  auto caches = *CachePool::create(*backend, plan->kv(), std::size_t{8} << 20);
  Forward forward(*backend, weights, *caches);
  const auto cache = caches->allocate(plan, std::ssize(ids));
  const auto vocabulary = static_cast<std::size_t>(weights->config.vocab_size);
  std::vector<float> all;
  std::size_t context = 0;
  for (const std::size_t rows : {std::size_t{70}, std::size_t{9}, std::size_t{1}, std::size_t{1}}) {
    const StepSequence step{&*cache, static_cast<std::int64_t>(context),
                            std::span(ids).subspan(context, rows),
                            rows > 1 ? RowKind::kPrefill : RowKind::kDecode, LogitRows::kAll};
    EXPECT_TRUE(forward.run({&step, 1}).ok());
    all.resize(all.size() + rows * vocabulary);
    backend->read(all.data() + context * vocabulary, forward.logits(0).data(),
                  rows * vocabulary * sizeof(float));
    context += rows;
  }
  return all;
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected, double tolerance,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  double scale = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    scale = std::max(scale, std::abs(double{expected[i]}));
    const double apart = std::abs(double{actual[i]} - double{expected[i]});
    worst = std::isnan(apart) ? apart : std::max(worst, apart);
    if (std::isnan(worst)) break;
  }
  EXPECT_LE(worst, tolerance * scale) << what;
}

TEST_P(CudaEngineOn, GivesTheCpusLogitsOfEveryFamily) {
  for (const char* const family : {"gqa3_f32", "mqa_bf16", "wide_heads_f16", "yarn_rope", "biases",
                                   "mistral_window", "qwen3", "smollm3"}) {
    const std::string name = std::string("tiny_llama/") + family;
    const auto here = golden_weights(name, WeightFormat::kF32),
               there = golden_weights(name, WeightFormat::kF32, device());
    const auto ids = some_ids(here->config.vocab_size);
    expect_near(logits_of(there, undistilled_plans(*there).plan(0), ids),
                logits_of(here, undistilled_plans(*here).plan(0), ids), 1e-4, name);
  }
}

struct ChainCase {
  std::string model, variant;
  int window;
  int expand_k;
  WeightFormat format;
  double tolerance;
  bool delta = false;
};

const std::vector<ChainCase> kChains = {{"stories260K", "paper", 0, 1, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 0, 1, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 20, 1, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 0, 2, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 20, 2, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 20, 2, WeightFormat::kF32, 5e-4, true},
                                        {"tiny_llama/qwen3", "dslad", 0, 1, WeightFormat::kF32, 5e-4},
                                        {"stories260K", "dslad", 20, 1, WeightFormat::kBf16, 3e-2}};

void expect_cpus_logits(const ChainCase& its, const std::shared_ptr<kernels::Device>& device) {
  DslaVariant variant = *named_variant(its.variant);
  variant.window = its.window;
  variant.sinks = its.window > 0 ? 4 : 0;
  variant.expand_k = its.expand_k;
  if (its.expand_k > 1) variant.rotary = false;
  variant.delta = its.delta;
  if (its.delta) variant.states = 1;
  const LlamaConfig config = *LlamaConfig::load(golden(its.model));
  std::vector<int> order;
  for (int layer = config.layers; layer-- > 0;) order.push_back(layer);
  const ChainedModel model(its.model, order, config.layers, variant);
  const auto plan_on = [&](const std::shared_ptr<kernels::Device>& where) {
    auto weights = *load_weights(model.path(), its.format, {}, where);
    const PlanSet plans(*weights, load_chain(model.path(), *weights));
    EXPECT_EQ(plans.largest(), config.layers);
    return std::pair(weights, plans.largest_plan());
  };
  const auto ids = some_ids(config.vocab_size);
  const auto [here, here_plan] = plan_on(kernels::cpu_device());
  const auto [there, there_plan] = plan_on(device);
  expect_near(logits_of(there, there_plan, ids), logits_of(here, here_plan, ids), its.tolerance, its.model);
}

TEST_P(CudaEngineOn, GivesTheCpusLogitsOfEveryVariant) {
  for (const ChainCase& chain : kChains) {
    SCOPED_TRACE(fmt::format("{} {} window {} expand_k {} delta {}", chain.model, chain.variant, chain.window,
                             chain.expand_k, chain.delta));
    expect_cpus_logits(chain, device());
  }
}

// Prompts and answers of several plans, questions of one document, a document again: each as alone.
TEST_P(CudaEngineOn, GivesTheSameTextAloneAndInCompany) {
  LlamaConfig config = company_config();
  config.context = 4096;  // more than two pieces of any device
  const auto weights = random_weights(config, WeightFormat::kF32, 9, device());
  const PlanSet plans = undistilled_plans(*weights, 3);
  const auto two_pieces = static_cast<std::size_t>(2 * weights->device->piece_rows());
  std::vector<EngineRequest> requests = {continuation(1, noise(150, 1), 6, plans.plan(0)),
                                         continuation(2, noise(70, 2), 8, plans.plan(3)),
                                         continuation(3, noise(two_pieces + 14, 3), 5, plans.plan(2))};
  requests[1].temperature = 0.8f;
  requests[1].likelihoods = true;
  requests[2].tails = {noise(4, 10), noise(3, 11), noise(5, 12)};
  Answers expected;
  for (const EngineRequest& request : requests) {
    const auto engine = engine_over(weights, kSmall);
    ASSERT_TRUE(engine->add(request).ok());
    Collector sink;
    run_to_end(*engine, sink);
    expected.merge(sink.answers);
  }
  const auto engine = engine_over(weights, kSmall);
  for (const EngineRequest& request : requests) ASSERT_TRUE(engine->add(request).ok());
  Collector together, again;
  run_to_end(*engine, together);
  EXPECT_EQ(together.answers, expected);
  EXPECT_LT((together.log_ps[{2, 0}]), 0.0);
  ASSERT_TRUE(engine->add(requests[2]).ok());
  run_to_end(*engine, again);
  EXPECT_EQ(engine->counters().reusing, 1u);
  for (int tail = 0; tail < 3; ++tail) EXPECT_EQ((again.answers[{3, tail}]), (expected[{3, tail}]));
}

// A last piece of one row, which goes by forms of its own, and of several; windows and states beside pages.
void expect_pieces_apart(const std::shared_ptr<kernels::Device>& device,
                         const std::vector<std::int64_t>& lengths) {
  DslaVariant variant = *named_variant("dslad");
  variant.window = 150;
  const ChainedModel model("stories260K", {2, 0, 4, 1, 3}, 2, variant);
  auto config = nlohmann::json::parse(std::ifstream(model.path() / "config.json"));
  config["max_position_embeddings"] = 4096;  // more than three pieces of any device
  std::ofstream(model.path() / "config.json") << config;
  const auto weights = *load_weights(model.path(), WeightFormat::kF32, {}, device);
  const PlanSet plans(*weights, load_chain(model.path(), *weights));
  ASSERT_EQ(plans.largest(), 2);
  for (const std::int64_t length : lengths) {
    const auto prompt = noise(static_cast<std::size_t>(length), 3);
    for (const int plan : {0, 2}) {
      EXPECT_TRUE(logits_by_steps_of(3, weights, plans.plan(plan), prompt) ==
                  logits_by_steps_of(1, weights, plans.plan(plan), prompt))
          << length << " tokens, plan " << plan;
    }
  }
}

TEST_P(CudaEngineOn, PiecesThatAStepTakesInTogetherGiveTheLogitsOfStepsOfTheirOwn) {
  const auto where = device();
  expect_pieces_apart(where, {where->piece_rows() + 1, 2 * where->piece_rows() + 44});
}

TEST(CudaEngine, PiecesMayBeLongerThanTheShortest) {
  constexpr std::int64_t kPiece = 2 * kernels::kPieceRows;
  expect_pieces_apart(std::make_shared<HostDevice>(std::size_t{64} << 20, kPiece), {kPiece + 20});
}

// What a device needs to be told of but once: sequences that grow, in places that stay, on two plans.
TEST(CudaEngine, ABatchThatDecodesAsksForTheSameStepAgain) {
  constexpr std::size_t kTokens = 12, kForward = 16;  // operations of a step that is more than sampling
  const auto device = host_device();
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 9, device);
  const PlanSet plans = undistilled_plans(*weights, 2);
  const auto engine = engine_over(weights, kSmall);
  for (const unsigned id : {1u, 2u}) {
    EngineRequest request = continuation(id, noise(60 + id, id), kTokens, plans.plan(id == 1 ? 0 : 2));
    request.ignore_eos = true;
    ASSERT_TRUE(engine->add(std::move(request)).ok());
  }
  Collector sink;
  run_to_end(*engine, sink);
  std::vector<std::string> keys;
  for (const auto& [key, operations] : device->steps()) {
    if (operations > kForward) keys.push_back(key);
  }
  ASSERT_EQ(keys.size(), kTokens) << "of both prompts, and of each token but the last";
  EXPECT_NE(keys[0], keys[1]);
  EXPECT_EQ(std::ranges::count(keys, keys[1]), std::ssize(keys) - 1);
}

// What a step is said to have taken, and to have read, is the step's: of prompts alone, too.
TEST(CudaEngine, AStepEndsWhenTheDeviceIsDoneWithIt) {
  const auto device = host_device();
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 9, device);
  const PlanSet plans = undistilled_plans(*weights, 2);
  EngineOptions options = kSmall;
  options.prefill_rows = kernels::kPieceRows;
  options.prefix_snapshots = false;  // whose copies come behind a step
  const auto engine = engine_over(weights, options);
  ASSERT_TRUE(engine->add(continuation(1, noise(3 * kernels::kPieceRows, 1), 2, plans.plan(2))).ok());
  Collector sink;
  int of_prompts = 0;
  for (bool ended = false; !ended;) {
    const std::size_t before = device->steps().size();
    ended = !*engine->step(sink);
    EXPECT_EQ(device->under_way(), 0) << "after step " << engine->counters().steps;
    if (!ended && sink.answers.empty()) ++of_prompts;
    EXPECT_EQ(device->steps().size() > before, !ended);
  }
  EXPECT_EQ(of_prompts, 2) << "that nothing is drawn from";
}

TEST(CudaEngine, MemoryThatTheDeviceHasNotIsAnErrorThatNamesIt) {
  const auto weights = load_weights(golden("stories260K"), WeightFormat::kF32, {}, host_device(512));
  ASSERT_FALSE(weights.ok());
  EXPECT_EQ(weights.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(weights.error().message.find("cuda"), std::string::npos) << weights.error().message;

  const auto enough = golden_weights("stories260K", WeightFormat::kF32, host_device(8 << 10));
  EngineLimits limits;
  limits.cache_bytes = std::size_t{16} << 20;
  const auto engine = Engine::create(enough->device->make_backend(1), enough, limits);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, ErrorCode::kResourceExhausted);
}

// Whichever operation of a step it is at: the first that fails may be the one that gives the tokens.
TEST(CudaEngine, ADeviceThatFailsEndsTheStepWithItsWords) {
  const auto device = host_device();
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 9, device);
  const PlanSet plans = undistilled_plans(*weights, 2);
  bool survived = false;
  for (int after = 0; !survived; after += after < 20 ? 1 : 7) {
    device->break_down(std::numeric_limits<int>::max());
    const auto engine = engine_over(weights, kSmall);
    EngineRequest request = continuation(1, noise(20, 1), 50, plans.plan(2));
    request.likelihoods = true;
    ASSERT_TRUE(engine->add(std::move(request)).ok());
    Collector sink;
    ASSERT_TRUE(engine->step(sink).ok());
    device->break_down(after);
    const auto stepped = engine->step(sink);
    survived = stepped.ok();
    if (survived) break;
    EXPECT_EQ(stepped.error().code, ErrorCode::kUnavailable);
    EXPECT_NE(stepped.error().message.find("CUDA"), std::string::npos) << stepped.error().message;
    EXPECT_TRUE(sink.failed.empty()) << "its job goes back to the queue; after " << after;
    EXPECT_EQ((sink.answers[{1, 0}].size()), 1u) << "no token of the step is believed; after " << after;
  }
}

// A fault of a kernel shows where the host asks next, which may be for memory: it is not told that the budget
// is too large.
TEST(CudaEngine, MemoryThatADeviceRefusesBecauseItHasFailedIsNotCalledTooLittle) {
  const auto device = host_device();
  const auto weights = random_weights(company_config(), WeightFormat::kF32, 9, device);
  const PlanSet plans = undistilled_plans(*weights, 1);
  const auto backend = device->make_backend(1);
  const auto caches = *CachePool::create(*backend, plans.plan(0)->kv(), std::size_t{4} << 20);
  const auto cache = caches->allocate(plans.plan(0), 100);
  Forward forward(*backend, weights, *caches);
  const auto run = [&](const std::vector<std::int32_t>& ids) {
    const StepSequence step{&*cache, 0, ids, RowKind::kPrefill, LogitRows::kLast};
    return forward.run({&step, 1});
  };
  const auto expect_its_words = [](const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnavailable) << error.message;
    EXPECT_NE(error.message.find("failed at or before"), std::string::npos) << error.message;
  };
  ASSERT_TRUE(run(noise(5, 1)).ok());
  device->break_down();
  backend->copy(caches->base(), caches->base(), 0);
  const Status larger = run(noise(50, 1));
  ASSERT_FALSE(larger.ok());
  expect_its_words(larger.error());

  const auto pool = CachePool::create(*backend, plans.plan(0)->kv(), std::size_t{4} << 20);
  ASSERT_FALSE(pool.ok());
  expect_its_words(pool.error());
  const auto loaded = load_weights(golden("stories260K"), WeightFormat::kF32, {}, device);
  ASSERT_FALSE(loaded.ok());
  expect_its_words(loaded.error());
  const auto converted = PlanSet::create(*weights, LoadedChain::none(weights->config.layers), 2);
  ASSERT_FALSE(converted.ok());
  expect_its_words(converted.error());
}

// The last operation of a measurement may be the first that fails: what it gave is not believed.
TEST(CudaEngine, ADeviceThatFailsIsNotMeasured) {
  LlamaConfig small = company_config();
  small.layers = 2;
  const auto device = host_device();
  const auto weights = random_weights(small, WeightFormat::kF32, 9, device);
  const PlanSet plans = undistilled_plans(*weights, 1);
  const auto backend_that_fails = [&](int after) {
    device->break_down(after);
    return device->make_backend(1);
  };
  const std::vector<int> both = {0, 1};
  const auto score = [&](int after) -> Result<double> {
    const auto backend = backend_that_fails(after);
    const auto scorer = *TokenScorer::create(*backend, weights, plans, std::size_t{4} << 20);
    const auto scored = scorer->score(noise(5, 2), 1, both);
    if (!scored) return scored.error();
    return scored->at(1).nats + scored->at(1).kl;
  };
  const auto decode = [&](int after) -> Result<double> {
    const auto backend = backend_that_fails(after);
    const auto speed = measure_decode(*backend, weights, plans.plan(1), 1, 8, 1);
    if (!speed) return speed.error();
    return static_cast<double>(speed->tokens);
  };
  const std::array<std::function<Result<double>(int)>, 2> measurements = {score, decode};
  for (const auto& measure : measurements) {
    const double truth = *measure(std::numeric_limits<int>::max());
    int after = 0;
    auto measured = measure(after);
    for (; !measured; measured = measure(++after))
      ASSERT_EQ(measured.error().code, ErrorCode::kUnavailable) << measured.error().message;
    EXPECT_EQ(*measured, truth);
    EXPECT_GT(after, 20) << "operations, of which each has failed once";
  }
}

}  // namespace
}  // namespace dslad::worker
