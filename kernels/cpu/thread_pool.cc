#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <hwy/cache_control.h>
#include <thread>
#include <vector>

namespace dslad::kernels {
namespace {

// Longer than the gap between two loops of a step, shorter than what a sleeping thread's wake-up costs.
constexpr std::chrono::microseconds kSpin{30};

// Busy-waits until done() or the spin time is over; true when done.
template <typename Done>
bool spin_until(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

}  // namespace

// A loop is published by storing its task count in `unclaimed`. A thread claims a task by lowering that
// count with a compare-exchange, so only a holder of an unfinished task reads `body` and `tasks`, and a
// thread that slept through a whole loop holds up nobody.
struct ThreadPool::Impl {
  const std::function<void(std::int64_t, int)>* body = nullptr;
  std::int64_t tasks = 0;
  std::atomic<std::int64_t> unclaimed{0};
  std::atomic<std::int32_t> unfinished{0};  // 32 bits: what a futex waits on
  std::atomic<std::int32_t> loops{0};       // changes with every loop, and to stop
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;

  // Runs tasks of the current loop until none is left to claim.
  void drain(int thread) {
    std::int64_t left = unclaimed.load(std::memory_order_acquire);
    while (left > 0) {
      if (!unclaimed.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
      (*body)(tasks - left, thread);
      if (unfinished.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished.notify_one();
      left = unclaimed.load(std::memory_order_acquire);
    }
  }

  void work(int thread) {
    for (;;) {
      const std::int32_t seen = loops.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      drain(thread);
      const auto changed = [&] { return loops.load(std::memory_order_acquire) != seen; };
      if (!spin_until(changed)) loops.wait(seen, std::memory_order_acquire);
    }
  }

  void announce() {
    loops.fetch_add(1, std::memory_order_acq_rel);
    loops.notify_all();
  }

  void wait_until_finished() {
    const auto finished = [&] { return unfinished.load(std::memory_order_acquire) == 0; };
    if (spin_until(finished)) return;
    for (std::int32_t left = unfinished.load(); left != 0; left = unfinished.load()) unfinished.wait(left);
  }
};

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>()) {
  impl_->workers.reserve(static_cast<std::size_t>(threads - 1));
  // Signals are for the program's own threads: a handler, or a death, in the middle of a loop helps nobody.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int thread = 1; thread < threads; ++thread) {
    impl_->workers.emplace_back([impl = impl_.get(), thread] { impl->work(thread); });
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true, std::memory_order_release);
  impl_->announce();
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadPool::size() const {
  return static_cast<int>(impl_->workers.size()) + 1;
}

void ThreadPool::parallel_for(std::int64_t tasks, const std::function<void(std::int64_t, int)>& body) {
  if (tasks <= 1 || size() == 1) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  impl_->body = &body;
  impl_->tasks = tasks;
  impl_->unfinished.store(static_cast<std::int32_t>(tasks), std::memory_order_relaxed);
  impl_->unclaimed.store(tasks, std::memory_order_release);
  impl_->announce();
  impl_->drain(0);
  impl_->wait_until_finished();
}

}  // namespace dslad::kernels
