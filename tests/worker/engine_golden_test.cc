// The engine against the truth: published greedy texts of trained models, and logits of Hugging Face
// transformers.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/worker/engine_world.h"

namespace dslad::worker {
namespace {

using kernels::DType;
using kernels::WeightFormat;

nlohmann::json golden_json(const std::string& name) {
  return nlohmann::json::parse(std::ifstream(golden(name) / "golden.json"));
}

std::vector<std::int32_t> greedy(const std::string& name, WeightFormat format, std::int64_t tokens) {
  const auto truth = golden_json(name);
  const auto weights = golden_weights(name, format);
  const auto engine = engine_over(weights);
  EngineRequest request = continuation(1, truth["prompt_ids"], tokens, undistilled_plans(*weights).plan(0));
  request.ignore_eos = true;  // the truth goes on behind it
  EXPECT_TRUE(engine->add(std::move(request)).ok());
  Collector sink;
  run_to_end(*engine, sink);
  return sink.answers[{1, 0}];
}

class TrainedModel : public ::testing::TestWithParam<std::string> {};

TEST_P(TrainedModel, GivesThePublishedGreedyTokensInF32) {
  const std::vector<std::int32_t> truth = golden_json(GetParam())["greedy_ids"];
  EXPECT_EQ(greedy(GetParam(), WeightFormat::kF32, static_cast<std::int64_t>(truth.size())), truth);
}

TEST_P(TrainedModel, GivesTheFirst64GreedyTokensInBf16) {
  const std::vector<std::int32_t> truth = golden_json(GetParam())["greedy_ids"];
  EXPECT_EQ(greedy(GetParam(), WeightFormat::kBf16, 64),
            std::vector<std::int32_t>(truth.begin(), truth.begin() + 64));
}

INSTANTIATE_TEST_SUITE_P(Llamas, TrainedModel, ::testing::Values("stories260K", "babyllama"));

class RandomModel : public ::testing::TestWithParam<std::string> {};

void expect_logits(std::span<const float> actual, const std::vector<float>& expected, std::size_t position) {
  ASSERT_EQ(actual.size(), expected.size());
  double scale = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    worst = std::max(worst, std::abs(static_cast<double>(actual[i]) - expected[i]));
  }
  EXPECT_LE(worst, 1e-4 * scale) << "position " << position;
}

// Logits after each prefix: from the model run as one prefill piece of that length, and as the rows of one
// piece.
TEST_P(RandomModel, GivesTheLogitsOfTransformersInF32) {
  const std::string name = "tiny_llama/" + GetParam();
  const auto truth = golden_json(name);
  const auto weights = golden_weights(name, WeightFormat::kF32);
  const auto backend = kernels::make_cpu_backend(2);
  const LlamaConfig& c = weights->config;
  auto caches = CachePool::create(*backend, kv_layout(c, DType::kF32), std::size_t{16} << 20);
  ASSERT_TRUE(caches.ok());
  Forward forward(*backend, weights, **caches);
  const auto plan = undistilled_plans(*weights).plan(0);

  const std::vector<std::int32_t> ids = truth["prompt_ids"];
  const auto run = [&](std::size_t tokens, LogitRows logits) {
    const auto cache = (*caches)->allocate(plan, static_cast<std::int64_t>(ids.size()));
    ASSERT_TRUE(cache.has_value());
    const StepSequence step{&*cache, 0, {ids.data(), tokens}, kernels::RowKind::kPrefill, logits};
    ASSERT_TRUE(forward.run({&step, 1}).ok());
  };
  for (std::size_t row = 0; row < ids.size(); ++row) {
    run(row + 1, LogitRows::kLast);
    expect_logits(forward.logits(0), truth["logits"][row], row);
  }
  run(ids.size(), LogitRows::kAll);
  for (std::size_t row = 0; row < ids.size(); ++row) {
    expect_logits(forward.logits(row), truth["logits"][row], row);
  }
}

TEST_P(RandomModel, GivesTheGreedyTokensOfTransformers) {
  const std::string name = "tiny_llama/" + GetParam();
  const std::vector<std::int32_t> truth = golden_json(name)["greedy_ids"];
  EXPECT_EQ(greedy(name, WeightFormat::kF32, static_cast<std::int64_t>(truth.size())), truth);
}

INSTANTIATE_TEST_SUITE_P(Llamas, RandomModel,
                         ::testing::Values("gqa3_f32", "mha_sharded_bf16", "mqa_bf16",
                                           "narrow_heads_sharded_f32", "wide_heads_f16"));
INSTANTIATE_TEST_SUITE_P(Ropes, RandomModel,
                         ::testing::Values("linear_rope", "dynamic_rope", "llama3_rope", "yarn_rope"));
INSTANTIATE_TEST_SUITE_P(Families, RandomModel,
                         ::testing::Values("biases", "mistral_window", "qwen2", "qwen2_window",
                                           "qwen2_layer_types", "qwen3", "qwen3_window", "qwen3_biases",
                                           "smollm3", "smollm3_window", "smollm3_biases"));

}  // namespace
}  // namespace dslad::worker
