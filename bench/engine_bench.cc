// engine_bench [--model S|M|both] [--threads N] [--long-prompt TOKENS] [--json]: the whole engine on two
// model shapes, random weights, bf16.
//
// Prints what the engine reaches beside the limit it is held against, all measured in one run:
//   decode of one sequence            bytes read per token over the measured read bandwidth
//   decode of 32 sequences            tokens/s over those of one sequence, both with the same context
//   prefill of 512 tokens             FLOP/s of the projections over oneDNN's own on the same shapes
//   a long prompt (16k tokens), 3/4 of the layers DSLA   time over that of all-attention
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <thread>

#include "bench/model_shapes.h"
#include "bench/onednn_rate.h"
#include "bench/peaks.h"
#include "kernels/cpu/thread_pool.h"
#include "worker/engine/measure.h"
#include "worker/engine/plan_set.h"

namespace dslad::bench {
namespace {

using kernels::DType;
using kernels::WeightFormat;
using worker::Engine;
using worker::LlamaConfig;

struct Options {
  std::string model = "both";
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  std::int64_t long_prompt = 16384;  // tokens; 0: without those figures
  bool json = false;
};

class EngineBench {
 public:
  EngineBench(const Options& options, const std::string& model)
      : options_(options), model_(model), config_(model_shape(model)) {
    config_.context = 20'000;
  }

  Status run() {
    worker::EngineLimits limits;
    limits.cache_bytes = std::size_t{4} << 30;
    limits.prefix_snapshots = false;  // each measurement reads its prompt
    weights_ = worker::random_weights(config_, WeightFormat::kBf16, 1);
    auto engine = Engine::create(kernels::make_cpu_backend(options_.threads), weights_, limits);
    if (!engine) return engine.error();
    engine_ = *std::move(engine);
    const auto plans =
        worker::PlanSet::create(*weights_, worker::LoadedChain::none(config_.layers), config_.layers * 3 / 4);
    if (!plans) return plans.error();
    attention_ = plans->plan(0);
    Status status = decode();
    if (status) status = prefill();
    if (status && options_.long_prompt > 0) status = conversion(plans->largest_plan());
    return status;
  }

 private:
  // Bytes that one decode step of one sequence must read: all projections, and the keys and values behind it.
  [[nodiscard]] double bytes_per_token(std::int64_t context) const {
    const auto& weights = engine_->weights();
    const std::size_t embedding = config_.tie_word_embeddings ? 0 : weights.embedding->bytes();
    const double kv =
        2.0 * config_.layers * config_.kv_heads * config_.head_dim * 2 * static_cast<double>(context);
    return static_cast<double>(weights.bytes() - embedding) + kv;
  }

  Status decode() {
    kernels::ThreadPool pool(options_.threads);
    constexpr std::int64_t kContext = 2048;
    const auto backend = kernels::make_cpu_backend(options_.threads);
    const auto measure = [&](int sequences, std::int64_t context, std::int64_t steps) {
      return worker::measure_decode(*backend, weights_, attention_, sequences, context, steps);
    };
    const double bandwidth = read_bandwidth(pool);
    const auto short_one = measure(1, 16, 32);
    const auto one = measure(1, kContext, 32);
    const auto many = measure(32, kContext, 8);
    for (const auto* speed : {&short_one, &one, &many}) {
      if (!speed->ok()) return speed->error();
    }
    report("decode, 1 sequence, context 16", short_one->tokens_per_s() * bytes_per_token(16) / 1e9,
           bandwidth / 1e9, "GB/s");
    report("decode, 1 sequence, context 2048", one->tokens_per_s() * bytes_per_token(kContext) / 1e9,
           bandwidth / 1e9, "GB/s");
    report("decode, 32 sequences, context 2048", many->tokens_per_s(), one->tokens_per_s(),
           "tokens/s over one");
    return ok_status();
  }

  static constexpr std::int64_t kPromptTokens = 512;

  // The products of `tokens` prompt tokens: their operations, and the time that oneDNN takes for them.
  struct Products {
    double flops = 0, seconds = 0;
  };
  [[nodiscard]] Products products(std::int64_t tokens) const {
    struct Product {
      std::int64_t n, k;
    };
    const std::int64_t heads = std::int64_t{config_.heads} * config_.head_dim;
    const std::int64_t qkv = heads + 2 * std::int64_t{config_.kv_heads} * config_.head_dim;
    const Product all[] = {{qkv, config_.hidden_size},
                           {config_.hidden_size, heads},
                           {2 * config_.intermediate_size, config_.hidden_size},
                           {config_.hidden_size, config_.intermediate_size}};
    Products sum;
    for (const Product& p : all) {
      // Of the last layer's, a prompt has q, k and v alone: see forward.h.
      const int layers = config_.layers - (&p == all ? 0 : 1);
      sum.flops += 2.0 * static_cast<double>(p.n * p.k * tokens) * layers;
      sum.seconds += onednn_seconds(p.n, p.k, DType::kBf16, kPromptTokens, options_.threads) * layers *
                     static_cast<double>(tokens) / kPromptTokens;
    }
    return sum;
  }

  Status prefill() {
    const Products onednn = products(kPromptTokens);
    double best = 0;
    for (int i = 0; i < 3; ++i) {
      const auto speed = worker::measure_prefill(*engine_, attention_, 1, kPromptTokens);
      if (!speed) return speed.error();
      best = std::max(best, onednn.flops / speed->seconds);
    }
    report("prefill of 512 tokens", best / 1e9, onednn.flops / onednn.seconds / 1e9, "GFLOP/s");
    return ok_status();
  }

  Status conversion(const std::shared_ptr<const worker::Plan>& plan) {
    const std::int64_t tokens = options_.long_prompt;
    const auto converted = worker::measure_prefill(*engine_, plan, 1, tokens);
    const auto attention = worker::measure_prefill(*engine_, attention_, 1, tokens);
    if (!converted) return converted.error();
    if (!attention) return attention.error();
    const std::string what = fmt::format("{} tokens", tokens);
    report(what + ", 3/4 DSLA over attention", converted->seconds, attention->seconds, "s");
    report(what + ", oneDNN's products alone", products(tokens).seconds, attention->seconds, "s");
    return ok_status();
  }

  void report(const std::string& what, double ours, double limit, const char* unit) const {
    if (options_.json) {
      fmt::print(
          "{{\"model\":\"{}\",\"what\":\"{}\",\"ours\":{:.3f},\"limit\":{:.3f},\"unit\":\"{}\",\"threads\":{}"
          "}}\n",
          model_, what, ours, limit, unit, options_.threads);
    } else {
      fmt::print("{:<2} {:<38} {:>9.2f} {:>9.2f} {:<18} {:>6.2f}\n", model_, what, ours, limit, unit,
                 ours / limit);
    }
    std::fflush(stdout);
  }

  const Options& options_;
  std::string model_;
  LlamaConfig config_;
  std::shared_ptr<const worker::ModelWeights> weights_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const worker::Plan> attention_;  // plan 0
};

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  dslad::bench::Options options;
  CLI::App app("The whole engine on two model shapes, beside the machine's limits.", "engine_bench");
  app.add_option("--model", options.model, "SmolLM2-135M (S), TinyLlama-1.1B (M) or both")
      ->check(CLI::IsMember({"S", "M", "both"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--long-prompt", options.long_prompt, "tokens of the long prompt; 0: without its figures")
      ->check(CLI::Range(0, 19000))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a line of JSON for each figure");
  CLI11_PARSE(app, argc, argv);
  for (const char* model : {"S", "M"}) {
    if (options.model != "both" && options.model != model) continue;
    const dslad::Status status = dslad::bench::EngineBench(options, model).run();
    if (!status) {
      fmt::print(stderr, "engine_bench: {}\n", status.error().message);
      return 1;
    }
  }
  return 0;
}
