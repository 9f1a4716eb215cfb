// dsla_bench [--threads N]: the chunk form against the float32 peak, decode against memory updated in
// place, both against attention at growing contexts, and what a window beside the states costs.
//
// Each shape is first compared with the reference; a kernel that fails is not timed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/core.h>
#include <limits>

#include "bench/kernel_steps.h"
#include "bench/peaks.h"

namespace dslad::bench {
namespace {

using kernels::ThreadPool;

constexpr std::int64_t kWindow = 64;

void time_prefill(const Shape& shape, std::int64_t rows, double limit, ThreadPool& pool) {
  DslaStep step(shape, 1, rows);
  const double seconds = best_step_seconds(pool, 10, [&] { step.run(pool); });
  const double rate = step.operations() / seconds;
  fmt::print("  prefill {:5} rows       {:9.3f} ms  {:8.0f} tokens/s  {:6.1f} GFLOP/s of {:5.1f}  {:3.0f}%\n",
             rows, seconds * 1e3, static_cast<double>(rows) / seconds, rate / 1e9, limit / 1e9,
             100 * rate / limit);
}

void time_decode(const Shape& shape, int sequences, double limit, ThreadPool& pool) {
  DslaStep step(shape, sequences, 1);
  const double seconds = best_step_seconds(pool, 20, [&] { step.run(pool); });
  const double rate = step.bytes() / seconds;
  fmt::print("  decode  {:5} sequences  {:9.3f} ms  {:6.1f} GB/s of {:5.1f} updated in place  {:3.0f}%\n",
             sequences, seconds * 1e3, rate / 1e9, limit / 1e9, 100 * rate / limit);
}

void compare(const Shape& shape, int sequences, std::int64_t context, std::int64_t rows, ThreadPool& pool) {
  AttentionStep attention(shape, sequences, context, rows);
  DslaStep dsla(shape, sequences, rows);
  const double slow = best_step_seconds(pool, 7, [&] { attention.run(pool); });
  const double fast = best_step_seconds(pool, 7, [&] { dsla.run(pool); });
  fmt::print("  {:3} row(s) x {:2} at {:5}    attention {:9.3f} ms, DSLA {:7.3f} ms: {:5.1f} times faster\n",
             rows, sequences, context, slow * 1e3, fast * 1e3, slow / fast);
}

// In turn, so that what the neighbours of a busy machine take, they take from both.
void time_window(const Shape& shape, int sequences, std::int64_t rows, ThreadPool& pool) {
  constexpr int kRounds = 40;
  WindowStep window(shape, kWindow, sequences, rows);
  DslaStep dsla(shape, sequences, rows);
  double beside = std::numeric_limits<double>::infinity(), states = beside;
  for (int round = 0; round < kRounds; ++round) {
    beside = std::min(beside, best_step_seconds(pool, 1, [&] { window.run(pool); }));
    states = std::min(states, best_step_seconds(pool, 1, [&] { dsla.run(pool); }));
  }
  fmt::print("  {:3} row(s) x {:2}             window of {} {:9.4f} ms beside DSLA's {:8.4f} ms: {:3.0f}%\n",
             rows, sequences, kWindow, beside * 1e3, states * 1e3, 100 * beside / states);
}

bool report(const Shape& shape, ThreadPool& pool) {
  const double error = std::max({DslaStep(shape, 2, 1).error(pool), DslaStep(shape, 1, 100).error(pool),
                                 WindowStep(shape, kWindow, 2, 1).error(pool),
                                 WindowStep(shape, kWindow, 1, 100).error(pool)});
  fmt::print("{}: {} query heads, {} KV heads of {}; error against the reference {:.1e}\n", shape.name,
             shape.n_heads, shape.n_kv, shape.d, error);
  if (!(error < 1e-4)) return false;
  const double peak = f32_peak(pool);
  for (const std::int64_t rows : {128, 512, 2048}) time_prefill(shape, rows, peak, pool);
  const double bandwidth = update_bandwidth(pool);
  for (const int sequences : {1, 32, 512}) time_decode(shape, sequences, bandwidth, pool);
  for (const std::int64_t context : {1024, 4096, 16384}) {
    compare(shape, 1, context, 128, pool);
    compare(shape, 4, context, 1, pool);
  }
  for (const std::int64_t rows : {128, 2}) time_window(shape, 1, rows, pool);
  for (const int sequences : {1, 4, 32}) time_window(shape, sequences, 1, pool);
  return true;
}

}  // namespace
}  // namespace dslad::bench

int main(int argc, char** argv) {
  int threads = 1;
  CLI::App app("Dual-state linear attention on three models' shapes, beside the machine's limits.",
               "dsla_bench");
  app.add_option("--threads", threads, "CPU threads")->check(CLI::Range(1, 1024))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  dslad::kernels::ThreadPool pool(threads);
  fmt::print("{} thread(s)\n", threads);
  const auto passes = [&](const dslad::bench::Shape& shape) { return dslad::bench::report(shape, pool); };
  return std::ranges::all_of(dslad::bench::kShapes, passes) ? 0 : 1;
}
