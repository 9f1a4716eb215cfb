// attention_bench [--threads N]: decode against the memory's read bandwidth, prefill against the float32
// peak.
//
// Each shape is first compared with the reference on a short context; a kernel that fails is not timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/core.h>

#include "bench/kernel_steps.h"
#include "bench/peaks.h"

namespace dslad::bench {
namespace {

using kernels::ThreadPool;

void time_decode(const Shape& shape, int sequences, std::int64_t context, double limit, ThreadPool& pool) {
  AttentionStep step(shape, sequences, context, 1);
  const double seconds = best_step_seconds(pool, 20, [&] { step.run(pool); });
  const double rate = step.bytes() / seconds;
  fmt::print("  decode  {:3} x {:5} tokens {:9.3f} ms  {:6.1f} GB/s of {:5.1f} read   {:4.0f}%\n", sequences,
             context, seconds * 1e3, rate / 1e9, limit / 1e9, 100 * rate / limit);
}

void time_prefill(const Shape& shape, std::int64_t context, double limit, ThreadPool& pool) {
  AttentionStep step(shape, 1, context, 128);
  const double seconds = best_step_seconds(pool, 10, [&] { step.run(pool); });
  const double rate = step.operations() / seconds;
  fmt::print("  prefill 128 after {:5}    {:9.3f} ms  {:6.1f} GFLOP/s of {:5.1f}     {:4.0f}%\n", context,
             seconds * 1e3, rate / 1e9, limit / 1e9, 100 * rate / limit);
}

bool report(const Shape& shape, ThreadPool& pool) {
  const double error =
      std::max(AttentionStep(shape, 2, 600, 1).error(pool), AttentionStep(shape, 1, 100, 64).error(pool));
  fmt::print("{}: {} query heads, {} KV heads of {}; error against the reference {:.1e}\n", shape.name,
             shape.n_heads, shape.n_kv, shape.d, error);
  if (!(error < 1e-5)) return false;
  const double bandwidth = read_bandwidth(pool);
  time_decode(shape, 1, 16384, bandwidth, pool);
  time_decode(shape, 32, 2048, bandwidth, pool);
  const double peak = f32_peak(pool);
  for (const std::int64_t context : {0, 1024, 8192}) time_prefill(shape, context, peak, pool);
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  int threads = 1;
  CLI::App app("Attention on three models' shapes, beside the machine's limits.", "attention_bench");
  app.add_option("--threads", threads, "CPU threads")->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  dslad::kernels::ThreadPool pool(threads);
  fmt::print("{} thread(s)\n", threads);
  const auto passes = [&](const dslad::bench::Shape& shape) { return dslad::bench::report(shape, pool); };
  return std::ranges::all_of(dslad::bench::kShapes, passes) ? 0 : 1;
}
