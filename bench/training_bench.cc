// training_bench [--threads N] [--dtype bf16|f32] [--json]: the operations of distillation against the
// machine.
//
// Matrix products: GFLOP/s of a layer's forward product and of both its gradients, with float32 operands as
// the trainer holds them, and the share of what oneDNN reaches with operands, layout and threads of its own
// choice. Gradients that work element by element: GB/s of what they must read and write, and the share of the
// bandwidth of changing memory in place, measured in the same run. Everything is compared with its reference
// before it is timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/onednn_rate.h"
#include "bench/peaks.h"
#include "kernels/bias/bias_backward.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm/matmul.h"
#include "kernels/loss/token_loss.h"
#include "kernels/mlp/swiglu_backward.h"
#include "kernels/norm/rms_norm_backward.h"

namespace dslad::bench {
namespace {

using kernels::DType;
using kernels::ThreadPool;

constexpr std::int64_t kHidden[] = {128, 576, 2048};
constexpr std::int64_t kRows[] = {1024, 4096};
constexpr std::int64_t kCheckedRows = 3;
constexpr int kRepeats = 5;

struct Options {
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  DType compute = DType::kBf16;
  bool json = false;
};

// Zeros on huge pages, as a backend allocates them.
class Tensor {
 public:
  explicit Tensor(std::int64_t count)
      : count_(static_cast<std::size_t>(count)), memory_(kernels::allocate_aligned(count_ * sizeof(float))) {
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  static Tensor random(std::int64_t count) {
    static std::minstd_rand generator(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Tensor tensor(count);
    std::generate_n(tensor.data(), count, [&] { return uniform(generator); });
    return tensor;
  }
  [[nodiscard]] Tensor copy() const {
    Tensor tensor(static_cast<std::int64_t>(count_));
    std::copy_n(data(), count_, tensor.data());
    return tensor;
  }
  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(memory_.get()); }
  [[nodiscard]] std::size_t size() const { return count_; }

 private:
  std::size_t count_;
  kernels::AlignedBuffer memory_;
};

// In the elements that `expected` has.
bool close(const Tensor& actual, const Tensor& expected) {
  double error = 0, magnitude = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error = std::max(error, std::abs(double{actual.data()[i]} - expected.data()[i]));
    magnitude = std::max(magnitude, std::abs(double{expected.data()[i]}));
  }
  return error <= 1e-5 * magnitude;
}

// rate and limit in units of 1e9 a second.
void report(const Options& options, const std::string& operation, std::int64_t rows, std::int64_t width,
            double rate, double limit, const char* unit) {
  if (options.json) {
    fmt::print(
        "{{\"operation\":\"{}\",\"rows\":{},\"width\":{},\"rate\":{:.2f},\"limit\":{:.2f},\"unit\":\"{}\","
        "\"threads\":{}}}\n",
        operation, rows, width, rate / 1e9, limit / 1e9, unit, options.threads);
  } else {
    fmt::print("{:<22} {:>5} {:>6} {:>8.1f} {:>8.1f} {:<8} {:>5.0f}%\n", operation, rows, width, rate / 1e9,
               limit / 1e9, unit, 100 * rate / limit);
  }
}

// A layer's weight [width, width], and its inputs and gradients [rows, width].
class Layer {
 public:
  Layer(const Options& options, std::int64_t rows, std::int64_t width)
      : options_(options),
        rows_(rows),
        width_(width),
        x_(Tensor::random(rows * width)),
        w_(Tensor::random(width * width)),
        out_(std::max(rows, width) * width) {}

  bool run(ThreadPool& pool) {
    return time(pool, "y = x W^T", rows_, width_, {x_, false}, {w_, true}) &&
           time(pool, "dx = dy W", rows_, width_, {x_, false}, {w_, false}) &&
           time(pool, "dW = dy^T x", width_, rows_, {x_, true}, {x_, false});
  }

 private:
  struct Side {
    const Tensor& values;
    bool transposed;
  };

  // A product with `width` columns; every operand's rows are `width` long.
  bool time(ThreadPool& pool, const char* name, std::int64_t m, std::int64_t k, Side a, Side b) {
    kernels::MatmulArgs args = {m,
                                width_,
                                k,
                                {a.values.data(), DType::kF32, width_, a.transposed},
                                {b.values.data(), DType::kF32, width_, b.transposed},
                                out_.data(),
                                width_,
                                false,
                                options_.compute};
    kernels::matmul_cpu(pool, args);
    const Tensor expected(kCheckedRows * width_);
    kernels::MatmulArgs some = args;
    some.m = kCheckedRows;
    some.c = expected.data();
    kernels::matmul_ref(some);
    if (!close(out_, expected)) {
      fmt::print(stderr, "{}: differs from the reference; not timed\n", name);
      return false;
    }
    const double operations = 2.0 * static_cast<double>(m * width_ * k);
    const double seconds = best_step_seconds(pool, kRepeats, [&] { kernels::matmul_cpu(pool, args); });
    const double limit = onednn_seconds(width_, k, options_.compute, m, options_.threads);
    report(options_, name, rows_, width_, operations / seconds, operations / limit, "GFLOP/s");
    return true;
  }

  const Options& options_;
  std::int64_t rows_, width_;
  Tensor x_, w_, out_;
};

// An operation that changes or writes `out`: its reference and its fast form, and the bytes that it must
// move.
struct Elementwise {
  const char* name;
  std::int64_t rows, width;
  double bytes;
  std::function<void(const Tensor&out)> reference, fast;
};

bool time(const Options& options, ThreadPool& pool, double bandwidth, const Elementwise& operation,
          const Tensor& start) {
  const Tensor expected = start.copy(), actual = start.copy();
  operation.reference(expected);
  operation.fast(actual);
  if (!close(actual, expected)) {
    fmt::print(stderr, "{}: differs from the reference; not timed\n", operation.name);
    return false;
  }
  const double seconds = best_step_seconds(pool, kRepeats, [&] { operation.fast(actual); });
  report(options, operation.name, operation.rows, operation.width, operation.bytes / seconds, bandwidth,
         "GB/s");
  return true;
}

bool run_elementwise(const Options& options, ThreadPool& pool) {
  constexpr std::int64_t kTokens = 4096, kWidth = 2048, kVocab = 32000, kPieceRows = 512;
  const double bandwidth = update_bandwidth(pool);
  constexpr double kElements = static_cast<double>(kTokens * kWidth) * sizeof(float);

  const Tensor x = Tensor::random(kTokens * 2 * kWidth), dy = Tensor::random(kTokens * kWidth);
  std::vector<float> d_weight(static_cast<std::size_t>(kWidth));
  const auto norm = [&](const Tensor& dx) {
    return kernels::RmsNormBackwardArgs{x.data(), kWidth,          dy.data(), dy.data(), kWidth, dx.data(),
                                        kWidth,   d_weight.data(), kTokens,   kWidth,    1e-5f};
  };
  const auto bias = [&](const Tensor& d_bias) {
    return kernels::BiasBackwardArgs{dy.data(), kWidth, d_bias.data(), kTokens, kWidth};
  };
  const auto swiglu = [&](const Tensor& dx) {
    return kernels::SwiGluBackwardArgs{x.data(),  2 * kWidth, dy.data(), kWidth,
                                       dx.data(), 2 * kWidth, kTokens,   kWidth};
  };
  const Tensor teacher = Tensor::random(kPieceRows * kVocab);
  const std::vector<float> scales(kPieceRows, 0.5f);
  const std::vector<std::int32_t> labels(kPieceRows, 7);
  std::vector<float> cross_entropy(kPieceRows), kl(kPieceRows);
  const auto loss = [&](const Tensor& logits) {
    return kernels::TokenLossArgs{
        logits.data(), teacher.data(), kVocab,        kPieceRows,           kVocab,
        labels.data(), scales.data(),  scales.data(), cross_entropy.data(), kl.data()};
  };
  const auto logits_bytes = static_cast<double>(kPieceRows * kVocab) * sizeof(float);
  return time(options, pool, bandwidth,
              {"RMSNorm gradient", kTokens, kWidth, 4 * kElements,
               [&](const Tensor& dx) { rms_norm_backward_ref(norm(dx)); },
               [&](const Tensor& dx) { rms_norm_backward_cpu(pool, norm(dx)); }},
              Tensor(kTokens * kWidth)) &&
         time(options, pool, bandwidth,
              {"bias gradient", kTokens, kWidth, kElements,
               [&](const Tensor& d_bias) { bias_backward_ref(bias(d_bias)); },
               [&](const Tensor& d_bias) { bias_backward_cpu(pool, bias(d_bias)); }},
              Tensor(kWidth)) &&
         time(options, pool, bandwidth,
              {"SwiGLU gradient", kTokens, kWidth, 5 * kElements,
               [&](const Tensor& dx) { swiglu_backward_ref(swiglu(dx)); },
               [&](const Tensor& dx) { swiglu_backward_cpu(pool, swiglu(dx)); }},
              Tensor(kTokens * 2 * kWidth)) &&
         time(options, pool, bandwidth,
              {"loss and gradient", kPieceRows, kVocab, 3 * logits_bytes,
               [&](const Tensor& logits) { token_loss_ref(loss(logits)); },
               [&](const Tensor& logits) { token_loss_cpu(pool, loss(logits)); }},
              Tensor::random(kPieceRows * kVocab));
}

bool run(const Options& options) {
  ThreadPool pool(options.threads);
  if (!options.json) {
    fmt::print("{} threads\n{:<22} {:>5} {:>6} {:>8} {:>8}\n", options.threads, "operation", "rows", "width",
               "ours", "limit");
  }
  for (const std::int64_t width : kHidden) {
    for (const std::int64_t rows : kRows) {
      if (!Layer(options, rows, width).run(pool)) return false;
    }
  }
  return run_elementwise(options, pool);
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  dslad::bench::Options options;
  std::string dtype = "bf16";
  CLI::App app("The operations of distillation, beside the machine's limits.", "training_bench");
  app.add_option("--threads", options.threads, "CPU threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--dtype", dtype, "that products are computed in")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a line of JSON for each figure");
  CLI11_PARSE(app, argc, argv);
  options.compute = dtype == "f32" ? dslad::kernels::DType::kF32 : dslad::kernels::DType::kBf16;
  return dslad::bench::run(options) ? 0 : 1;
}
