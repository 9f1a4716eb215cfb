#include "worker/engine/measure.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <random>

#include "worker/model/device.h"

namespace dslad::worker {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Lets everything run to its end, and keeps the first failure.
class Ignore : public EngineSink {
 public:
  bool on_token(RequestId, int, std::int32_t) override { return true; }
  void on_answer(RequestId, int, AnswerEnd, double) override {}
  void on_progress(RequestId, const RequestProgress&) override {}
  void on_done(RequestId, const RequestProgress&, const RequestTimes&) override {}
  void on_failed(RequestId, const RequestProgress&, const RequestTimes&, const Error& error) override {
    if (ended) ended = error;
  }

  Status ended = ok_status();
};

std::vector<std::int32_t> noise(const Engine& engine, std::int64_t tokens, RequestId seed) {
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto vocabulary = static_cast<std::uint32_t>(engine.weights().config.vocab_size);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % vocabulary);
  return ids;
}

EngineRequest noise_prompt(const Engine& engine, RequestId id, std::int64_t tokens,
                           const std::shared_ptr<const Plan>& plan) {
  EngineRequest request;
  request.id = id;
  request.plan = plan;
  request.max_tokens = 1;
  request.tails.emplace_back();
  request.head = noise(engine, tokens, id);
  return request;
}

Status run_to_end(Engine& engine) {
  Ignore sink;
  for (;;) {
    const auto stepped = engine.step(sink);
    if (!stepped) return stepped.error();
    if (!sink.ended) return sink.ended;
    if (!*stepped) return ok_status();
  }
}

// Sequences in mid-answer, their past made up.
class DecodeBatch {
 public:
  DecodeBatch(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights, CachePool& caches,
              std::shared_ptr<const Plan> plan)
      : backend_(backend),
        caches_(caches),
        plan_(std::move(plan)),
        forward_(backend, std::move(weights), caches) {}

  // False when the pool is full.
  bool add(std::int64_t context, std::int64_t steps) {
    auto cache = caches_.allocate(plan_, context + steps);
    if (!cache) return false;
    sequences_.push_back({*std::move(cache), context, 1});
    return true;
  }

  // Asks for a step, on the tokens of the last one: read, or known to the device alone. REQUIRES: no more
  // than one is unread.
  Status begin() {
    if (unread_ > 0) {
      for (std::size_t i = 0; i < sequences_.size(); ++i)
        sequences_[i].token = kernels::drawn_id(static_cast<std::int64_t>(i));
    }
    std::vector<StepSequence> step;
    for (const One& one : sequences_) {
      step.push_back({&one.cache, one.length, {&one.token, 1}, kernels::RowKind::kDecode, LogitRows::kLast});
    }
    Status ran = forward_.run(step);
    if (!ran) return ran;
    std::vector<kernels::SampleArgs> rows;
    for (std::size_t i = 0; i < sequences_.size(); ++i) rows.push_back({.logits = forward_.logits(i)});
    backend_.draw(rows);
    for (One& one : sequences_) ++one.length;
    ++unread_;
    return ran;
  }

  // Reads the tokens of the oldest step that is unread.
  Status end() {
    std::vector<std::int32_t> tokens(sequences_.size());
    backend_.drawn(tokens);
    --unread_;
    if (Status sound = check_backend(backend_); !sound) return sound;
    for (std::size_t i = 0; i < sequences_.size(); ++i) sequences_[i].token = tokens[i];
    if (std::ranges::find(tokens, kernels::kNoToken) == tokens.end()) return ok_status();
    return Error{ErrorCode::kCorrupt,
                 fmt::format("plan {}: the logits are not finite; this model cannot be measured at this plan",
                             plan_->number())};
  }

  [[nodiscard]] bool unread() const { return unread_ > 0; }

 private:
  struct One {
    SequenceCache cache;
    std::int64_t length;
    std::int32_t token;
  };

  kernels::Backend& backend_;
  CachePool& caches_;
  std::shared_ptr<const Plan> plan_;
  Forward forward_;
  std::vector<One> sequences_;
  int unread_ = 0;
};

}  // namespace

Result<Speed> measure_prefill(Engine& engine, const std::shared_ptr<const Plan>& plan, int requests,
                              std::int64_t tokens) {
  auto speed = measure_jobs(engine, plan, requests, tokens, 1);
  if (speed) speed->tokens = requests * tokens;
  return speed;
}

Result<Speed> measure_jobs(Engine& engine, const std::shared_ptr<const Plan>& plan, int requests,
                           std::int64_t tokens, std::int64_t answer) {
  for (int i = 0; i < requests; ++i) {
    EngineRequest request = noise_prompt(engine, static_cast<RequestId>(i), tokens, plan);
    request.max_tokens = answer;
    request.ignore_eos = true;
    const Status added = engine.add(std::move(request));
    if (!added) return added.error();
  }
  const auto start = Clock::now();
  const Status ran = run_to_end(engine);
  if (!ran) return ran.error();
  return Speed{requests * (tokens + answer), seconds_since(start)};
}

Result<Speed> measure_question(Engine& engine, const std::shared_ptr<const Plan>& plan, int number,
                               std::int64_t tokens) {
  EngineRequest request = noise_prompt(engine, 0, tokens, plan);
  request.tails = {noise(engine, kQuestionTokens, static_cast<RequestId>(number) + 1)};
  request.max_tokens = kAnswerTokens;
  request.ignore_eos = true;
  const auto start = Clock::now();
  const Status added = engine.add(std::move(request));
  if (!added) return added.error();
  const Status ran = run_to_end(engine);
  if (!ran) return ran.error();
  return Speed{tokens + kQuestionTokens + kAnswerTokens, seconds_since(start)};
}

Result<Speed> measure_decode(kernels::Backend& backend, std::shared_ptr<const ModelWeights> weights,
                             const std::shared_ptr<const Plan>& plan, int sequences, std::int64_t context,
                             std::int64_t steps) {
  constexpr std::int64_t kWarmUp = 2;
  constexpr std::byte kFill{0x3c};  // 0.0115 as float32 and as bf16
  // One page more for each layer than a sequence can need, so that the arena's two ends never meet.
  const std::int64_t pages = (context + steps + kWarmUp) / kernels::kPageTokens + 2;
  const std::int64_t sequence_pages = pages * plan->layers() + plan->slots_pages();
  const std::size_t budget = static_cast<std::size_t>(sequence_pages * sequences) * plan->kv().page_bytes();
  auto caches = CachePool::create(backend, plan->kv(), budget);
  if (!caches) return caches.error();
  backend.fill((*caches)->base(), kFill,
               static_cast<std::size_t>((*caches)->total_pages()) * (*caches)->page_bytes());

  DecodeBatch batch(backend, std::move(weights), **caches, plan);
  for (int i = 0; i < sequences; ++i) {
    if (!batch.add(context, steps + kWarmUp))
      return Error{ErrorCode::kInternal, "the measurement's caches are too small"};
  }
  auto start = Clock::now();
  for (std::int64_t i = -kWarmUp; i < steps; ++i) {
    if (i == 0) start = Clock::now();
    // As the engine does.
    const bool ahead = backend.works_apart() && i + 1 < steps;
    Status stepped = batch.unread() ? ok_status() : batch.begin();
    if (stepped && ahead) stepped = batch.begin();
    if (stepped) stepped = batch.end();
    if (!stepped) return stepped.error();
  }
  return Speed{sequences * steps, seconds_since(start)};
}

}  // namespace dslad::worker
