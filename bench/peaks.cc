#include "bench/peaks.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"

// clang-format off
#include "kernels/cpu/simd_targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peaks.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace dslad::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float sum_block(const float* data, std::size_t count) {
  const hn::ScalableTag<float> d;
  const std::size_t step = 4 * hn::Lanes(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;
  for (std::size_t i = 0; i + step <= count; i += step) {
    a = hn::Add(a, hn::Load(d, data + i));
    b = hn::Add(b, hn::Load(d, data + i + hn::Lanes(d)));
    c = hn::Add(c, hn::Load(d, data + i + 2 * hn::Lanes(d)));
    e = hn::Add(e, hn::Load(d, data + i + 3 * hn::Lanes(d)));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

void scale_block(float* data, std::size_t count) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999f);
  for (std::size_t i = 0; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    hn::Store(hn::Mul(hn::Load(d, data + i), factor), d, data + i);
  }
}

// Returns the operations done; `sink` keeps the work alive.
double multiply_add(std::int64_t rounds, float* sink) {
  constexpr int kChains = 12;
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999f);
  hn::Vec<decltype(d)> sums[kChains];
  for (auto& sum : sums) sum = factor;
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) sum = hn::MulAdd(sum, factor, factor);
  }
  for (auto& sum : sums) *sink += hn::GetLane(hn::SumOfLanes(d, sum));
  return 2.0 * kChains * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

}  // namespace dslad::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dslad::bench {

HWY_EXPORT(sum_block);
HWY_EXPORT(scale_block);
HWY_EXPORT(multiply_add);

namespace {

// The best rate at which body(floats, count) passes over memory that no cache holds, window after window;
// each is short enough to run between two turns of other processes on a busy machine.
double streaming_rate(kernels::ThreadPool& pool, const std::function<void(float*, std::size_t)>& body) {
  constexpr std::int64_t kWindows = 32, kParts = 16;
  constexpr std::size_t kPartFloats = std::size_t{1} << 17;
  constexpr std::size_t kBytes = kWindows * kParts * kPartFloats * sizeof(float);
  static const kernels::AlignedBuffer memory = kernels::allocate_aligned(kBytes);
  if (memory == nullptr) return 0;
  auto* data = reinterpret_cast<float*>(memory.get());
  for (std::size_t i = 0; i < kBytes; i += 4096) memory.get()[i] = std::byte{};
  std::int64_t window = 0;
  const double seconds = best_step_seconds(pool, 2 * kWindows, [&] {
    float* start = data + window++ % kWindows * kParts * kPartFloats;
    pool.parallel_for(kParts, [&](std::int64_t part, int) { body(start + part * kPartFloats, kPartFloats); });
  });
  return kParts * kPartFloats * sizeof(float) / seconds;
}

}  // namespace

double read_bandwidth(kernels::ThreadPool& pool) {
  std::atomic<float> sink{0};
  return streaming_rate(pool, [&](const float* data, std::size_t count) {
    sink.store(HWY_DYNAMIC_DISPATCH(sum_block)(data, count), std::memory_order_relaxed);
  });
}

double update_bandwidth(kernels::ThreadPool& pool) {
  return 2 * streaming_rate(pool, [](float* data, std::size_t count) {
           HWY_DYNAMIC_DISPATCH(scale_block)(data, count);
         });
}

double best_step_seconds(int threads, int repeats, const std::function<void()>& step) {
  if (threads > 1) return best_seconds(repeats, step);
  const auto thread_seconds = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repeats; ++i) {
    const double start = thread_seconds();
    step();
    best = std::min(best, thread_seconds() - start);
  }
  return best;
}

double best_step_seconds(kernels::ThreadPool& pool, int repeats, const std::function<void()>& step) {
  return best_step_seconds(pool.size(), repeats, step);
}

double f32_peak(kernels::ThreadPool& pool) {
  constexpr std::int64_t kRounds = 500'000;
  double operations = 0;
  const double seconds = best_seconds(5, [&] {
    pool.parallel_for(pool.size(), [&](std::int64_t task, int) {
      float sink = 0;
      const double done = HWY_DYNAMIC_DISPATCH(multiply_add)(kRounds, &sink);
      if (task == 0) operations = done * (sink > 0 ? 1 : 0);
    });
  });
  return operations * pool.size() / seconds;
}

}  // namespace dslad::bench
#endif
