// device_kernels_bench --device cuda:N [--json]: the operations that decide, each by itself, beside what the
// device reaches in the same run.
//
//   DSLA, decode         states read and written over the bandwidth of copies
//   attention, decode    keys and values over the bandwidth of copies
//   DSLA, prompt         time, and that of attention over the same prompt as a multiple of it
//   attention, prompt    operations of the pairs that it sees over those of a large bf16 product
// Both kinds have the same heads, of 128 channels; pages are bf16, states float32.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <random>
#include <thread>
#include <vector>

#include "bench/device_peaks.h"
#include "bench/peaks.h"
#include "kernels/backend.h"
#include "worker/model/device.h"

namespace dslad::bench {
namespace {

using kernels::Device;

struct Options {
  std::string device = "cuda:0";
  int heads = 32, kv_heads = 32;
  std::vector<std::int64_t> prompts = {8192, 32768};  // tokens
  int sequences = 64;                                 // that decode
  std::int64_t context = 8192;                        // of each
  int repeats = 5;
  bool json = false;
};

constexpr int kChannels = 128;

class Bench {
 public:
  Bench(const Options& options, std::shared_ptr<Device> device)
      : options_(options), device_(std::move(device)), noise_(std::size_t{1} << 18) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    for (float& x : noise_) x = normal(generator);
  }

  Status run() {
    auto backend = worker::make_backend(*device_, static_cast<int>(std::thread::hardware_concurrency()));
    if (!backend) return backend.error();
    backend_ = *std::move(backend);
    const auto bandwidth = copy_bandwidth(*device_, *backend_);
    if (!bandwidth) return bandwidth.error();
    const double rate = product_rate();
    if (options_.json)
      fmt::print("{{\"device\":\"{}\",\"copies\":{:.0f},\"products\":{:.1f}}}\n", device_->name(),
                 *bandwidth / 1e9, rate / 1e12);
    else
      fmt::print("{}: copies {:.0f} GB/s, bf16 products {:.1f} TFLOP/s\n", device_->name(), *bandwidth / 1e9,
                 rate / 1e12);
    decode_states(*bandwidth);
    decode_pages(*bandwidth);
    for (const std::int64_t tokens : options_.prompts) prompts(tokens, rate);
    if (!enough_) return Error{ErrorCode::kResourceExhausted, "the device has too little memory"};
    return worker::check_backend(*backend_);
  }

 private:
  // Zeros, until the operation has been timed.
  float* room(std::int64_t floats) {
    Device::Buffer& buffer =
        buffers_.emplace_back(device_->allocate(static_cast<std::size_t>(floats) * sizeof(float)));
    if (buffer == nullptr) enough_ = false;
    return reinterpret_cast<float*>(buffer.get());
  }
  // The same of random numbers.
  const float* noise(std::int64_t floats) {
    float* const memory = room(floats);
    const auto all = std::ssize(noise_);
    for (std::int64_t at = 0; enough_ && at < floats; at += all) {
      device_->write(memory + at, noise_.data(),
                     static_cast<std::size_t>(std::min(all, floats - at)) * sizeof(float));
    }
    return memory;
  }

  // Seconds of one call of the operation, the best of several rounds.
  template <class Operation>
  double seconds_of(const Operation& operation, const void* result) {
    if (!enough_) return std::nan("");
    constexpr int kCalls = 8;
    const auto calls = [&](int count) {
      std::byte last{};
      for (int i = 0; i < count; ++i) operation();
      backend_->read(&last, result, 1);
    };
    calls(1);
    return best_seconds(options_.repeats, [&] { calls(kCalls); }) / kCalls;
  }

  // Operations/s.
  double product_rate() {
    constexpr std::int64_t kWidth = 4096;
    const std::int64_t piece = device_->piece_rows(), rows = 4 * piece;
    const auto w = device_->make_matrix(kWidth, kWidth, kernels::WeightFormat::kBf16);
    const float* x = noise(rows * kWidth);
    float* y = room(rows * kWidth);
    if (w == nullptr) enough_ = false;
    std::vector<kernels::RowBlock> blocks;
    blocks.reserve(static_cast<std::size_t>(rows / piece));
    for (std::int64_t first = 0; first < rows; first += piece)
      blocks.push_back({first, piece, kernels::RowKind::kPrefill});
    const double seconds = seconds_of(
        [&] {
          backend_->gemm({x, kWidth, w.get(), y, kWidth, false, blocks});
        },
        y);
    buffers_.clear();
    return 2.0 * static_cast<double>(rows * kWidth * kWidth) / seconds;
  }

  [[nodiscard]] kernels::DslaShape states() const {
    return {options_.heads, options_.kv_heads, kChannels, kChannels};
  }
  double dsla_seconds(int sequences, std::int64_t rows) {
    const kernels::DslaShape shape = states();
    const std::int64_t all = sequences * rows, wide = std::int64_t{options_.heads} * kChannels,
                       narrow = std::int64_t{options_.kv_heads} * kChannels;
    const auto floats = static_cast<std::int64_t>(shape.state_floats());
    const float *q = noise(all * wide), *k = noise(all * narrow), *v = noise(all * narrow),
                *z = noise(2 * all * narrow), *bias = room(2 * narrow), *mix = room(2 * options_.heads);
    float *o = room(all * wide), *slots = room(sequences * floats);
    std::vector<kernels::DslaPiece> pieces;
    pieces.reserve(static_cast<std::size_t>(sequences));
    for (int i = 0; i < sequences; ++i) pieces.push_back({i * rows, rows, slots + i * floats});
    const double seconds = seconds_of(
        [&] {
          backend_->dsla({shape, q, wide, k, narrow, v, narrow, z, 2 * narrow, bias, mix, o, wide, pieces});
        },
        o);
    buffers_.clear();
    return seconds;
  }

  // Each sequence appends `rows` tokens to `context`, in pieces as an engine cuts them.
  double attention_seconds(int sequences, std::int64_t context, std::int64_t rows) {
    const auto layout = backend_->kv_layout({kernels::DType::kBf16, options_.kv_heads, kChannels});
    const std::int64_t wide = std::int64_t{options_.heads} * kChannels,
                       narrow = std::int64_t{options_.kv_heads} * kChannels;
    const std::int64_t each = (context + rows + kernels::kPageTokens - 1) / kernels::kPageTokens;
    const float *q = noise(sequences * rows * wide), *k = noise(sequences * rows * narrow),
                *v = noise(sequences * rows * narrow);
    float* o = room(sequences * rows * wide);
    void* pool = room(sequences * each * static_cast<std::int64_t>(layout.page_bytes() / sizeof(float)));
    std::vector<std::int32_t> pages(static_cast<std::size_t>(sequences * each));
    for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<std::int32_t>(i);
    std::vector<kernels::AttentionPiece> pieces;
    for (std::int64_t i = 0; i < sequences; ++i) {
      for (std::int64_t done = 0; done < rows; done += device_->piece_rows()) {
        pieces.push_back({i * rows + done, std::min(device_->piece_rows(), rows - done), context + done,
                          pages.data() + i * each});
      }
    }
    const float scale = 1.0f / std::sqrt(static_cast<float>(kChannels));
    const double seconds = seconds_of(
        [&] {
          backend_->attention({q, wide, k, v, narrow, o, wide, options_.heads, scale, pool, layout, pieces});
        },
        o);
    buffers_.clear();
    return seconds;
  }

  void decode_states(double bandwidth) {
    const double seconds = dsla_seconds(options_.sequences, 1);
    const double bytes =
        2.0 * options_.sequences * static_cast<double>(states().state_floats()) * sizeof(float);
    report(fmt::format("DSLA, decode, {} sequences", options_.sequences), seconds, bytes / seconds / 1e9,
           bandwidth / 1e9, "GB/s");
  }

  void decode_pages(double bandwidth) {
    const double seconds = attention_seconds(options_.sequences, options_.context - 1, 1);
    const double bytes = 2.0 * 2.0 * options_.sequences * static_cast<double>(options_.context) *
                         options_.kv_heads * kChannels;
    report(fmt::format("attention, decode, {} sequences at {}", options_.sequences, options_.context),
           seconds, bytes / seconds / 1e9, bandwidth / 1e9, "GB/s");
  }

  void prompts(std::int64_t tokens, double rate) {
    const double attention = attention_seconds(1, 0, tokens);
    const double pairs = 0.5 * static_cast<double>(tokens) * static_cast<double>(tokens + 1);
    const double operations = 4.0 * pairs * options_.heads * kChannels;
    report(fmt::format("attention, prompt of {}", tokens), attention, operations / attention / 1e12,
           rate / 1e12, "TFLOP/s");
    const double dsla = dsla_seconds(1, tokens);
    report(fmt::format("DSLA, prompt of {}, and attention's", tokens), dsla, attention * 1e3, dsla * 1e3,
           "ms");
  }

  void report(const std::string& what, double seconds, double ours, double limit, const char* unit) const {
    if (options_.json) {
      fmt::print("{{\"what\":\"{}\",\"ms\":{:.4f},\"ours\":{:.3f},\"other\":{:.3f},\"unit\":\"{}\"}}\n", what,
                 seconds * 1e3, ours, limit, unit);
    } else {
      fmt::print("{:<44} {:>10.3f} ms {:>10.1f} {:>10.1f} {:<8} {:>6.2f}\n", what, seconds * 1e3, ours, limit,
                 unit, ours / limit);
    }
    std::fflush(stdout);
  }

  const Options& options_;
  std::shared_ptr<Device> device_;
  std::vector<float> noise_;
  std::unique_ptr<kernels::Backend> backend_;
  std::vector<Device::Buffer> buffers_;  // of the operation that is timed
  bool enough_ = true;
};

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  using namespace dslad;
  bench::Options options;
  CLI::App app("The operations that decide, beside what a device reaches.", "device_kernels_bench");
  app.add_option("--device", options.device, "cuda:N, or cpu")
      ->check(worker::check_device_name, "cpu, cuda or cuda:N")
      ->capture_default_str();
  app.add_option("--heads", options.heads, "query heads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--kv-heads", options.kv_heads, "heads of keys, values and states; divides --heads")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--prompts", options.prompts, "tokens")
      ->delimiter(',')
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--sequences", options.sequences, "that decode")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--context", options.context, "tokens of each")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  app.add_option("--repeats", options.repeats, "rounds, of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a line of JSON for each figure");
  CLI11_PARSE(app, argc, argv);
  const auto fail = [](const std::string& why) {
    fmt::print(stderr, "device_kernels_bench: {}\n", why);
    return 1;
  };
  if (options.heads % options.kv_heads != 0) return fail("--kv-heads must divide --heads");
  const auto device = worker::open_device(options.device, kernels::WeightFormat::kBf16);
  if (!device) return fail(device.error().message);
  const Status status = bench::Bench(options, *device).run();
  return status ? 0 : fail(status.error().message);
}
