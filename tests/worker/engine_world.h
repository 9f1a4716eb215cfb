// An engine over a golden or random model on its device, and a sink that collects what it says.
#pragma once

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/rows.h"
#include "tests/source_dir.h"
#include "worker/engine/engine.h"
#include "worker/engine/plan_set.h"

namespace dslad::worker {

inline std::filesystem::path golden(const std::string& name) {
  return source_dir() / "tests" / "golden" / name;
}

// By (request, tail).
using Answers = std::map<std::pair<RequestId, int>, std::vector<std::int32_t>>;

class Collector : public EngineSink {
 public:
  bool on_token(RequestId id, int tail, std::int32_t token) override {
    answers[{id, tail}].push_back(token);
    return true;
  }
  void on_answer(RequestId id, int tail, AnswerEnd end, double mean_log_p) override {
    ends[{id, tail}] = end;
    log_ps[{id, tail}] = mean_log_p;
  }
  void on_progress(RequestId id, const RequestProgress& p) override { progress[id] = p; }
  void on_done(RequestId id, const RequestProgress&, const RequestTimes&) override { done.push_back(id); }
  void on_failed(RequestId id, const RequestProgress&, const RequestTimes&, const Error& error) override {
    failed.emplace(id, error);
  }

  Answers answers;
  std::map<std::pair<RequestId, int>, AnswerEnd> ends;
  std::map<std::pair<RequestId, int>, double> log_ps;
  std::map<RequestId, RequestProgress> progress;
  std::vector<RequestId> done;
  std::map<RequestId, Error> failed;
};

struct EngineOptions {
  int threads = 2;
  std::size_t cache_bytes = std::size_t{64} << 20;
  int max_sequences = 64;
  std::int64_t prefill_rows = EngineLimits{}.prefill_rows;
  bool prefix_snapshots = true;
  bool look_ahead = true;
};

inline std::unique_ptr<Engine> engine_over(const std::shared_ptr<const ModelWeights>& weights,
                                           const EngineOptions& options = {}) {
  EngineLimits limits;
  limits.cache_bytes = options.cache_bytes;
  limits.max_sequences = options.max_sequences;
  limits.prefill_rows = options.prefill_rows;
  limits.prefix_snapshots = options.prefix_snapshots;
  limits.look_ahead = options.look_ahead;
  auto engine = Engine::create(weights->device->make_backend(options.threads), weights, limits);
  if (!engine) throw std::runtime_error(engine.error().message);
  return *std::move(engine);
}

// Plans of a model without a chain: the first `converted` layers have undistilled forms.
inline PlanSet undistilled_plans(const ModelWeights& weights, int converted = 0) {
  auto plans = PlanSet::create(weights, LoadedChain::none(weights.config.layers), converted);
  if (!plans) throw std::runtime_error(plans.error().message);
  return *std::move(plans);
}

inline std::shared_ptr<const ModelWeights> golden_weights(
    const std::string& name, kernels::WeightFormat format,
    std::shared_ptr<kernels::Device> device = kernels::cpu_device()) {
  auto weights = load_weights(golden(name), format, {}, std::move(device));
  if (!weights) throw std::runtime_error(weights.error().message);
  return *std::move(weights);
}

inline void run_to_end(Engine& engine, Collector& sink) {
  for (;;) {
    const auto stepped = engine.step(sink);
    ASSERT_TRUE(stepped.ok()) << stepped.error().message;
    if (!*stepped) return;
  }
}

// A request for `max_tokens` greedy tokens after `head`.
inline EngineRequest continuation(RequestId id, std::vector<std::int32_t> head, std::int64_t max_tokens,
                                  std::shared_ptr<const Plan> plan) {
  EngineRequest request;
  request.id = id;
  request.head = std::move(head);
  request.tails.emplace_back();
  request.max_tokens = max_tokens;
  request.plan = std::move(plan);
  return request;
}

// Every row's logits of a prompt that is read by steps of so many pieces, and of four tokens behind it.
inline std::vector<float> logits_by_steps_of(std::int64_t pieces,
                                             const std::shared_ptr<const ModelWeights>& weights,
                                             const std::shared_ptr<const Plan>& plan,
                                             std::span<const std::int32_t> prompt) {
  constexpr std::size_t kBehind = 4;
  const auto backend = weights->device->make_backend(2);
  const auto caches = *CachePool::create(*backend, plan->kv(), std::size_t{8} << 20);
  const auto cache = caches->allocate(plan, std::ssize(prompt) + std::int64_t{kBehind});
  if (!cache) throw std::runtime_error("the pool is too small");
  Forward forward(*backend, weights, *caches);
  std::vector<float> logits;
  const auto take = [&](std::size_t context, std::span<const std::int32_t> ids, kernels::RowKind kind) {
    const StepSequence step{&*cache, static_cast<std::int64_t>(context), ids, kind, LogitRows::kAll};
    if (!forward.run({&step, 1})) throw std::runtime_error("the step failed");
    const std::size_t before = logits.size();
    logits.resize(before + ids.size() * static_cast<std::size_t>(weights->config.vocab_size));
    backend->read(logits.data() + before, forward.logits(0).data(), (logits.size() - before) * sizeof(float));
  };
  const auto most = static_cast<std::size_t>(pieces * weights->device->piece_rows());
  for (std::size_t done = 0; done < prompt.size(); done += most) {
    take(done, prompt.subspan(done, std::min(most, prompt.size() - done)), kernels::RowKind::kPrefill);
  }
  for (std::size_t i = 0; i < kBehind; ++i)
    take(prompt.size() + i, prompt.subspan(i % prompt.size(), 1), kernels::RowKind::kDecode);
  return logits;
}

// A small model without trained weights.
inline LlamaConfig company_config() {
  LlamaConfig config;
  config.hidden_size = 96;
  config.intermediate_size = 200;
  config.vocab_size = 300;
  config.context = 2048;
  config.layers = 4;
  config.heads = 6;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = false;
  return config;
}

inline std::vector<std::int32_t> noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % 300);
  return ids;
}

inline std::vector<std::int32_t> alone(const std::shared_ptr<const ModelWeights>& weights,
                                       EngineRequest request, EngineOptions options) {
  const auto engine = engine_over(weights, options);
  const RequestId id = request.id;
  EXPECT_TRUE(engine->add(std::move(request)).ok());
  Collector sink;
  run_to_end(*engine, sink);
  return sink.answers[{id, 0}];
}

}  // namespace dslad::worker
