// What this machine can do right now: the limits that a bench prints beside its figures.
//
// Measured in the same run as the figures, because on a shared machine only ratios mean anything.
#pragma once

#include <chrono>
#include <functional>
#include <limits>

namespace dslad::kernels {
class ThreadPool;
}

namespace dslad::bench {

// Bytes per second that all threads together read from memory (a block far larger than the caches).
double read_bandwidth(kernels::ThreadPool& pool);

// Bytes per second, read and written together, of changing memory in place.
double update_bandwidth(kernels::ThreadPool& pool);

// Float32 operations per second of independent multiply-adds in registers.
double f32_peak(kernels::ThreadPool& pool);

// The fastest of `repeats` calls, in seconds: on a shared machine the others measure the neighbours.
template <class Body>
double best_seconds(int repeats, const Body& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = taken.count() < best ? taken.count() : best;
  }
  return best;
}

// The same for a step that takes `threads` threads, or those of a pool. A single thread is timed by its own
// clock, which does not run while other processes have its core.
double best_step_seconds(int threads, int repeats, const std::function<void()>& step);
double best_step_seconds(kernels::ThreadPool& pool, int repeats, const std::function<void()>& step);

}  // namespace dslad::bench
