#include "worker/engine/measure.h"

#include <chrono>
#include <random>

namespace dslad::worker {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Counts what happens and lets everything run to its end.
class Counter : public EngineSink {
 public:
  bool on_token(RequestId, int, std::int32_t) override {
    ++tokens;
    return true;
  }
  void on_answer(RequestId, int, AnswerEnd) override {}
  void on_progress(RequestId, const RequestProgress&) override {}
  void on_done(RequestId, const RequestProgress&, const RequestTimes&) override {}

  std::int64_t tokens = 0;
};

Status submit(Engine& engine, int requests, std::int64_t tokens, std::int64_t max_tokens, int plan) {
  std::mt19937 random(1);
  for (int i = 0; i < requests; ++i) {
    EngineRequest request;
    request.id = static_cast<RequestId>(i);
    request.plan = plan;
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.tails.emplace_back();
    for (std::int64_t t = 0; t < tokens; ++t) {
      request.head.push_back(static_cast<std::int32_t>(
          random() % static_cast<std::uint32_t>(engine.weights().config.vocab_size)));
    }
    const Status added = engine.add(std::move(request));
    if (!added) return added;
  }
  return ok_status();
}

// Steps until `tokens` tokens have come out.
Status run_until(Engine& engine, Counter& counter, std::int64_t tokens) {
  while (counter.tokens < tokens) {
    const auto stepped = engine.step(counter);
    if (!stepped) return stepped.error();
    if (!*stepped)
      return Error{ErrorCode::kInternal, "the engine is idle before the measurement is complete"};
  }
  return ok_status();
}

void drop_all(Engine& engine, int requests) {
  for (int i = 0; i < requests; ++i) engine.cancel(static_cast<RequestId>(i));
}

}  // namespace

Result<Speed> measure_prefill(Engine& engine, int requests, std::int64_t tokens, int plan) {
  const Status submitted = submit(engine, requests, tokens, 1, plan);
  if (!submitted) return submitted.error();
  Counter counter;
  const auto start = Clock::now();
  const Status ran = run_until(engine, counter, requests);
  if (!ran) return ran.error();
  return Speed{requests * tokens, seconds_since(start)};
}

Result<Speed> measure_decode(Engine& engine, int requests, std::int64_t context, std::int64_t steps,
                             int plan) {
  // Early sequences decode while the last prompts are still being processed: a step takes in a piece at
  // least.
  const std::int64_t early = requests * ((context + kernels::kMaxPrefillRows) / kernels::kMaxPrefillRows) + 1;
  const Status submitted = submit(engine, requests, context, steps + early, plan);
  if (!submitted) return submitted.error();
  Counter counter;
  std::uint64_t before = 0;
  do {  // the first step without prompt tokens ends the prefill
    before = engine.counters().prompt_tokens;
    const auto stepped = engine.step(counter);
    if (!stepped) return stepped.error();
  } while (engine.counters().prompt_tokens != before);
  const std::int64_t first = counter.tokens;
  const auto start = Clock::now();
  const Status ran = run_until(engine, counter, first + steps * requests);
  const double seconds = seconds_since(start);
  const std::int64_t made = counter.tokens - first;
  drop_all(engine, requests);
  if (!ran) return ran.error();
  return Speed{made, seconds};
}

}  // namespace dslad::worker
