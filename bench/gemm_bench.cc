// gemm_bench [--threads N] [--dtype bf16|f32|int8|int4] [--json]: the projections of two models against the
// machine.
//
// Decode is bound by the bytes of the weights: GB/s, and its share of the read bandwidth measured in the same
// run. Prefill is bound by arithmetic: GFLOP/s, and its share of what oneDNN reaches with a layout and
// threads of its own choice. Every product is compared with the reference before it is timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "bench/onednn_rate.h"
#include "bench/peaks.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/packed_matrix.h"

namespace dslad::bench {
namespace {

using kernels::PackedMatrix;
using kernels::RowBlock;
using kernels::RowKind;
using kernels::WeightFormat;

struct Projection {
  const char* model;
  const char* name;
  std::int64_t n, k;
};

constexpr Projection kProjections[] = {
    {"SmolLM2-135M", "q, o", 576, 576},      {"SmolLM2-135M", "k, v", 192, 576},
    {"SmolLM2-135M", "gate, up", 3072, 576}, {"SmolLM2-135M", "down", 576, 1536},
    {"SmolLM2-135M", "head", 49152, 576},    {"TinyLlama-1.1B", "q, o", 2048, 2048},
    {"TinyLlama-1.1B", "k, v", 256, 2048},   {"TinyLlama-1.1B", "gate, up", 11264, 2048},
    {"TinyLlama-1.1B", "down", 2048, 5632},  {"TinyLlama-1.1B", "head", 32000, 2048},
};
constexpr std::size_t kColdBytes = std::size_t{128}
                                   << 20;  // of weights in turn: four times the largest cache
constexpr int kRepeats = 7;

struct Options {
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  WeightFormat format = WeightFormat::kBf16;
  bool json = false;
};

std::vector<RowBlock> prefill_blocks(std::int64_t rows) {
  std::vector<RowBlock> blocks;
  for (std::int64_t first = 0; first < rows; first += kernels::kPieceRows) {
    blocks.push_back({first, std::min(kernels::kPieceRows, rows - first), RowKind::kPrefill});
  }
  return blocks;
}

// The same weights several times over, so that every product reads them from memory as a model's step does.
class Workload {
 public:
  Workload(const Projection& projection, WeightFormat format) : n_(projection.n), k_(projection.k) {
    std::vector<float> source(static_cast<std::size_t>(n_ * k_));
    for (std::size_t i = 0; i < source.size(); ++i)
      source[i] = std::sin(static_cast<float>(i * 7919 % 10007));
    const std::size_t bytes = PackedMatrix::packed_bytes(n_, k_, format);
    const std::size_t copies = std::clamp<std::size_t>(kColdBytes / bytes, 1, 1000);
    for (std::size_t i = 0; i < copies; ++i)
      copies_.emplace_back(n_, k_, format).pack_rows(0, n_, source.data());
    x_.resize(static_cast<std::size_t>(512 * k_));
    for (std::size_t i = 0; i < x_.size(); ++i) x_[i] = std::cos(static_cast<float>(i * 104729 % 10009));
    y_.resize(static_cast<std::size_t>(512 * n_));
  }

  [[nodiscard]] std::size_t bytes() const { return copies_.front().bytes(); }
  [[nodiscard]] double flops(std::int64_t rows) const { return 2.0 * static_cast<double>(rows * n_ * k_); }

  kernels::GemmArgs args(const PackedMatrix& w, std::vector<float>& y,
                         const std::vector<RowBlock>& blocks) const {
    return {x_.data(), k_, &w, y.data(), n_, false, blocks};
  }

  // Three rows of each kind against the reference.
  bool check(kernels::ThreadPool& pool) {
    const std::vector<RowBlock> some = {{0, 3, RowKind::kDecode}, {128, 3, RowKind::kPrefill}};
    const std::vector<RowBlock> all = {{0, 32, RowKind::kDecode}, {128, 128, RowKind::kPrefill}};
    std::vector<float> expected(y_.size());
    kernels::gemm_ref(args(copies_.front(), expected, some));
    kernels::gemm_cpu(pool, args(copies_.front(), y_, all));
    double error = 0, magnitude = 0;
    for (const RowBlock& block : some) {
      for (std::int64_t i = block.first * n_; i < (block.first + block.rows) * n_; ++i) {
        const auto at = static_cast<std::size_t>(i);
        error = std::max(error, std::abs(double{y_[at]} - expected[at]));
        magnitude = std::max(magnitude, std::abs(double{expected[at]}));
      }
    }
    return error <= 1e-5 * magnitude;
  }

  // Seconds of one product: the fastest of its turns, averaged over the copies. Decode goes round all of them
  // before it meets the first again; prefill reads its weights so rarely that a few will do.
  double time(kernels::ThreadPool& pool, const std::vector<RowBlock>& blocks) {
    const bool cold = blocks.front().kind == RowKind::kDecode;
    std::vector<double> best(cold ? copies_.size() : 1, std::numeric_limits<double>::infinity());
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      for (std::size_t i = 0; i < best.size(); ++i) {
        const auto run = [&] { kernels::gemm_cpu(pool, args(copies_[i], y_, blocks)); };
        best[i] = std::min(best[i], best_seconds(1, run));
      }
    }
    return std::accumulate(best.begin(), best.end(), 0.0) / static_cast<double>(best.size());
  }

 private:
  std::int64_t n_, k_;
  std::vector<PackedMatrix> copies_;
  std::vector<float> x_, y_;
};

void report(const Options& options, const Projection& projection, const char* kind, std::int64_t rows,
            double rate, double limit, const char* unit) {
  if (options.json) {
    fmt::print(
        "{{\"model\":\"{}\",\"projection\":\"{}\",\"n\":{},\"k\":{},\"kind\":\"{}\",\"rows\":{},"
        "\"rate\":{:.2f},\"limit\":{:.2f},\"unit\":\"{}\",\"threads\":{}}}\n",
        projection.model, projection.name, projection.n, projection.k, kind, rows, rate / 1e9, limit / 1e9,
        unit, options.threads);
  } else {
    fmt::print("{:<15} {:<9} {:>6} {:>5}  {:<8} {:>4} {:>8.1f} {:>8.1f} {:<8} {:>5.0f}%\n", projection.model,
               projection.name, projection.n, projection.k, kind, rows, rate / 1e9, limit / 1e9, unit,
               100 * rate / limit);
  }
}

bool run(const Options& options) {
  kernels::ThreadPool pool(options.threads);
  const double bandwidth = read_bandwidth(pool);
  if (!options.json) {
    fmt::print("{} threads; read bandwidth {:.1f} GB/s\n{:<15} {:<9} {:>6} {:>5}  {:<8} {:>4} {:>8} {:>8}\n",
               options.threads, bandwidth / 1e9, "model", "", "N", "K", "", "rows", "ours", "limit");
  }
  for (const Projection& projection : kProjections) {
    Workload workload(projection, options.format);
    if (!workload.check(pool)) {
      fmt::print(stderr, "{} {}: the product differs from the reference; not timed\n", projection.model,
                 projection.name);
      return false;
    }
    for (const std::int64_t rows : {1, 8, 32}) {
      const double seconds = workload.time(pool, {{0, rows, RowKind::kDecode}});
      report(options, projection, "decode", rows, static_cast<double>(workload.bytes()) / seconds, bandwidth,
             "GB/s");
    }
    for (const std::int64_t rows : {128, 512}) {
      const double limit =
          workload.flops(rows) /
          onednn_seconds(projection.n, projection.k, compute_type(options.format), rows, options.threads);
      const double seconds = workload.time(pool, prefill_blocks(rows));
      report(options, projection, "prefill", rows, workload.flops(rows) / seconds, limit, "GFLOP/s");
    }
  }
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  using namespace dslad::kernels;
  dslad::bench::Options options;
  std::string dtype = "bf16";
  CLI::App app("The projections of two models, beside the machine's limits.", "gemm_bench");
  app.add_option("--threads", options.threads, "CPU threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--dtype", dtype, "of the weights")
      ->check(CLI::IsMember(std::vector<std::string>(kWeightFormatNames.begin(), kWeightFormatNames.end())))
      ->capture_default_str();
  app.add_flag("--json", options.json, "a line of JSON for each figure");
  CLI11_PARSE(app, argc, argv);
  options.format = *parse_weight_format(dtype);
  return dslad::bench::run(options) ? 0 : 1;
}
