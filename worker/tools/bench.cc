#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "worker/engine/measure.h"
#include "worker/engine/plan_set.h"
#include "worker/model/device.h"
#include "worker/tools/verbs.h"

namespace dslad::worker {
namespace {

// Prints one result, as a line of a table or of JSON.
void report(const ToolOptions& options, const char* what, int requests, std::int64_t tokens,
            const Speed& speed) {
  if (options.json) {
    const nlohmann::ordered_json out = {{"measured", what},         {"requests", requests},
                                        {"tokens", tokens},         {"plan", options.plan},
                                        {"seconds", speed.seconds}, {"tokens_per_s", speed.tokens_per_s()}};
    fmt::print("{}\n", out.dump());
  } else {
    fmt::print("{:<8} {:>3} x {:>6} tokens  plan {:>3}  {:>10.1f} tokens/s\n", what, requests, tokens,
               options.plan, speed.tokens_per_s());
  }
  std::fflush(stdout);
}

// One by one, each by an engine that reads the document each time and by one that keeps what it has read.
Status report_questions(const ToolOptions& options, const std::shared_ptr<const ModelWeights>& weights,
                        const std::shared_ptr<const Plan>& plan, int questions, std::int64_t tokens) {
  const auto reading = make_engine(weights, options, false), keeping = make_engine(weights, options, true);
  if (!reading) return reading.error();
  if (!keeping) return keeping.error();
  double without = 0, seconds = 0;
  for (int number = 0; number < questions; ++number) {
    const auto read = measure_question(**reading, plan, number, tokens);
    if (!read) return read.error();
    const auto reused = measure_question(**keeping, plan, number, tokens);
    if (!reused) return reused.error();
    without += read->seconds;
    seconds += reused->seconds;
  }
  const std::uint64_t reusing = (*keeping)->counters().reusing;
  if (options.json) {
    const nlohmann::ordered_json out = {{"measured", "questions"},   {"requests", questions},
                                        {"tokens", tokens},          {"plan", options.plan},
                                        {"reusing", reusing},        {"seconds", seconds},
                                        {"seconds_without", without}};
    fmt::print("{}\n", out.dump());
  } else {
    fmt::print(
        "{:<8} {:>3} x {:>6} tokens  plan {:>3}  {:>7.2f} s; {:.2f} s without reuse: {:.1f}x, {} reuse\n",
        "ask", questions, tokens, options.plan, seconds, without, without / seconds, reusing);
  }
  std::fflush(stdout);
  return ok_status();
}

}  // namespace

int bench(const ToolOptions& options, const BenchOptions& bench) {
  const auto format = parse_format(options.dtype);
  if (!format) return fail(format.error());
  const auto device = open_device(options.device, *format);
  if (!device) return fail(device.error());
  const auto weights = load_weights(options.model, *format, {}, *device);
  if (!weights) return fail(weights.error());
  const LoadedChain chain = load_chain(options.model, **weights);
  const auto plans = PlanSet::create(**weights, chain, options.plan);
  if (!plans) return fail(plans.error());
  const std::shared_ptr<const Plan>& plan = plans->plan(options.plan);
  const auto engine = make_engine(*weights, options, false);
  if (!engine) return fail(engine.error());
  report_chain(chain, options.plan);
  const std::int64_t room = (*weights)->config.context - 1;
  for (const std::int64_t asked : bench.prompt_tokens) {
    const std::int64_t tokens = std::min(asked, room);
    const auto speed = measure_prefill(**engine, plan, 1, tokens);
    if (!speed) return fail(speed.error());
    report(options, "prefill", 1, tokens, *speed);
    if (bench.questions == 0) continue;
    const std::int64_t document =
        std::max<std::int64_t>(1, std::min(tokens, room - kQuestionTokens - kAnswerTokens));
    const Status asked_all = report_questions(options, *weights, plan, bench.questions, document);
    if (!asked_all) return fail(asked_all.error());
  }
  const auto backend = make_backend(**device, threads_of(options));
  if (!backend) return fail(backend.error());
  for (const int batch : bench.batches) {
    const std::int64_t context =
        std::clamp<std::int64_t>(bench.context, 1, room - std::min(room - 1, bench.steps + 2));
    const auto speed = measure_decode(**backend, *weights, plan, batch, context, bench.steps);
    if (!speed) return fail(speed.error());
    report(options, "decode", batch, context, *speed);
  }
  return 0;
}

}  // namespace dslad::worker
