// device_bench --device cuda:N [--model 7B|8B|S] [--parts one,many,prompt,jobs] [--json]: what converting
// layers saves on a device, random weights, bf16, beside the device's own bandwidth of copies in the same
// run.
//
//   decode, 1 sequence      bytes that a step must read over the bandwidth of copies (which reads and writes)
//   decode, many sequences  tokens/s with 0, 1/2, 3/4 and all of the layers converted, over those with none
//   a long prompt           tokens/s with 3/4 of the layers converted over those with none
//   whole jobs              a document and an answer, several at once: the same
// Converted layers are the paper's (DslaVariant{}), undistilled: their cost does not depend on their numbers.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <string>

#include "bench/device_peaks.h"
#include "bench/model_shapes.h"
#include "worker/engine/measure.h"
#include "worker/engine/plan_set.h"
#include "worker/model/device.h"

namespace dslad::bench {
namespace {

using kernels::WeightFormat;
using worker::LlamaConfig;

struct Options {
  std::string device = "cuda:0", model = "7B";
  std::int64_t context = 8192;                           // of many sequences that decode
  std::vector<std::int64_t> documents = {16384, 32768};  // tokens
  int jobs = 16;                                         // at once
  std::int64_t answer = 256;                             // tokens of each
  std::vector<std::string> parts = {"one", "many", "prompt", "jobs"};
  bool json = false;
};

class DeviceBench {
 public:
  DeviceBench(const Options& options, std::shared_ptr<kernels::Device> device)
      : options_(options), device_(std::move(device)), config_(model_shape(options.model)) {}

  Status run() {
    config_.context = *std::ranges::max_element(options_.documents) + 1024;
    auto backend = worker::make_backend(*device_, 1);
    if (!backend) return backend.error();
    backend_ = *std::move(backend);
    weights_ = worker::random_weights(config_, WeightFormat::kBf16, 1, device_);
    auto plans =
        worker::PlanSet::create(*weights_, worker::LoadedChain::none(config_.layers), config_.layers);
    if (!plans) return plans.error();
    plans_ = std::make_unique<worker::PlanSet>(*std::move(plans));
    Status status = ok_status();
    if (wanted("one")) status = decode_one();
    if (status && wanted("many")) status = decode_many();
    for (const std::int64_t tokens : options_.documents) {
      if (status && wanted("prompt")) status = long_prompt(tokens);
      if (status && wanted("jobs")) status = whole_jobs(tokens);
    }
    if (const std::string notes = backend_->notes(); !notes.empty())
      fmt::print(stderr, "device_bench: decode: {}\n", notes);
    return status;
  }

 private:
  [[nodiscard]] bool wanted(const char* part) const {
    return std::ranges::find(options_.parts, part) != options_.parts.end();
  }
  [[nodiscard]] const std::shared_ptr<const worker::Plan>& plan(int quarters) const {
    return plans_->plan(config_.layers * quarters / 4);
  }
  [[nodiscard]] std::size_t spare_bytes() const {
    return device_->free_bytes().value_or(std::size_t{4} << 30) / 10 * 9;
  }

  Status decode_one() {
    constexpr std::int64_t kContext = 2048;
    const auto bandwidth = copy_bandwidth(*device_, *backend_);
    if (!bandwidth) return bandwidth.error();
    const auto speed = worker::measure_decode(*backend_, weights_, plan(0), 1, kContext, 64);
    if (!speed) return speed.error();
    const std::size_t embedding = config_.tie_word_embeddings ? 0 : weights_->embedding->bytes();
    const double bytes = static_cast<double>(weights_->bytes() - embedding) +
                         static_cast<double>(plan(0)->kv_bytes_per_token()) * kContext;
    report("decode, 1 sequence, 2k", speed->tokens_per_s() * bytes / 1e9, *bandwidth / 1e9, "GB/s");
    return ok_status();
  }

  // As many sequences, up to 64, as the memory has room for under plan 0.
  Status decode_many() {
    const std::size_t each = plan(0)->kv_bytes_per_token() * static_cast<std::size_t>(options_.context + 256);
    const int sequences = std::clamp(static_cast<int>(spare_bytes() / each), 1, 64);
    double none = 0;
    for (const int quarters : {0, 2, 3, 4}) {
      const auto speed =
          worker::measure_decode(*backend_, weights_, plan(quarters), sequences, options_.context, 32);
      if (!speed) return speed.error();
      if (quarters == 0) none = speed->tokens_per_s();
      report(fmt::format("decode, {} sequences, {}, {}% DSLA", sequences, options_.context, 25 * quarters),
             speed->tokens_per_s(), none, "tokens/s");
    }
    return ok_status();
  }

  Result<std::unique_ptr<worker::Engine>> engine() {
    worker::EngineLimits limits;
    limits.cache_bytes = spare_bytes();
    limits.prefix_snapshots = false;
    limits.widest = plans_->largest_plan()->widths();
    auto backend = worker::make_backend(*device_, 1);
    if (!backend) return backend.error();
    return worker::Engine::create(*std::move(backend), weights_, limits);
  }

  Status long_prompt(std::int64_t tokens) {
    double none = 0;
    for (const int quarters : {0, 3, 4}) {
      auto made = engine();
      if (!made) return made.error();
      const auto speed = worker::measure_prefill(**made, plan(quarters), 1, tokens);
      if (!speed) return speed.error();
      if (quarters == 0) none = speed->tokens_per_s();
      report(fmt::format("prompt of {} tokens, {}% DSLA", tokens, 25 * quarters), speed->tokens_per_s(), none,
             "tokens/s");
    }
    return ok_status();
  }

  Status whole_jobs(std::int64_t tokens) {
    double none = 0;
    for (const int quarters : {0, 3}) {
      auto made = engine();
      if (!made) return made.error();
      const auto speed = worker::measure_jobs(**made, plan(quarters), options_.jobs, tokens, options_.answer);
      if (!speed) return speed.error();
      if (quarters == 0) none = speed->tokens_per_s();
      report(fmt::format("{} jobs of {} + {} tokens, {}% DSLA", options_.jobs, tokens, options_.answer,
                         25 * quarters),
             speed->tokens_per_s(), none, "tokens/s");
    }
    return ok_status();
  }

  void report(const std::string& what, double ours, double other, const char* unit) const {
    if (options_.json) {
      fmt::print("{{\"model\":\"{}\",\"what\":\"{}\",\"ours\":{:.3f},\"other\":{:.3f},\"unit\":\"{}\"}}\n",
                 options_.model, what, ours, other, unit);
    } else {
      fmt::print("{:<3} {:<48} {:>12.1f} {:>12.1f} {:<10} {:>6.2f}\n", options_.model, what, ours, other,
                 unit, ours / other);
    }
    std::fflush(stdout);
  }

  const Options& options_;
  std::shared_ptr<kernels::Device> device_;
  LlamaConfig config_;
  std::unique_ptr<kernels::Backend> backend_;
  std::shared_ptr<const worker::ModelWeights> weights_;
  std::unique_ptr<worker::PlanSet> plans_;
};

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  using namespace dslad;
  bench::Options options;
  CLI::App app("What converting layers saves on a device.", "device_bench");
  app.add_option("--device", options.device, "cuda:N, or cpu")
      ->check(worker::check_device_name, "cpu, cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--model", options.model, "Llama-2-7B, Llama-3-8B or SmolLM2-135M (S)")
      ->check(CLI::IsMember({"7B", "8B", "S"}))
      ->capture_default_str();
  app.add_option("--context", options.context, "tokens behind each of many sequences")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--documents", options.documents, "tokens of a long prompt")
      ->delimiter(',')
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--jobs", options.jobs, "whole jobs at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--answer", options.answer, "tokens of a whole job's answer")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--parts", options.parts, "decode of one sequence or of many, long prompts, whole jobs")
      ->delimiter(',')
      ->check(CLI::IsMember({"one", "many", "prompt", "jobs"}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a line of JSON for each figure");
  CLI11_PARSE(app, argc, argv);
  const auto device = worker::open_device(options.device, kernels::WeightFormat::kBf16);
  if (!device) {
    fmt::print(stderr, "device_bench: {}\n", device.error().message);
    return 1;
  }
  const Status status = bench::DeviceBench(options, *device).run();
  if (!status) fmt::print(stderr, "device_bench: {}\n", status.error().message);
  return status ? 0 : 1;
}
