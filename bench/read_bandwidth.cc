#include "bench/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/thread_pool.h"

namespace dslad::bench {
namespace {

constexpr std::int64_t kBytes = std::int64_t{512} << 20;
constexpr std::int64_t kTaskBytes = std::int64_t{1} << 20;
constexpr int kPasses = 6;

// Independent sums, so that only the reads can take time; the result keeps them alive.
std::uint64_t sum(const std::byte* data) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  for (std::int64_t i = 0; i < kTaskBytes / 8; i += 4) {
    a += words[i];
    b += words[i + 1];
    c += words[i + 2];
    d += words[i + 3];
    __builtin_prefetch(words + i + 512);
  }
  return a + b + c + d;
}

}  // namespace

double read_bandwidth(kernels::ThreadPool& pool) {
  const kernels::AlignedBuffer memory = kernels::allocate_aligned(kBytes);
  if (memory == nullptr) return 0;
  std::memset(memory.get(), 1, kBytes);
  std::atomic<std::uint64_t> total{0};
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(kBytes / kTaskBytes, [&](std::int64_t task, int) {
      total.fetch_add(sum(memory.get() + task * kTaskBytes), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kBytes) / seconds.count());
  }
  return total.load() == 0 ? 0 : best;
}

}  // namespace dslad::bench
