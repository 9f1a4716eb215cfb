// A fixed set of threads that run one parallel loop at a time.
//
// Tasks are handed out dynamically, so a task's result must not depend on who runs it or when. Loops follow
// each other within microseconds in a decode step: idle threads spin briefly before they sleep. Thread
// safety: one caller at a time. Invariant: with size() == 1 everything runs on the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace dslad::kernels {

class ThreadPool {
 public:
  // REQUIRES: threads >= 1; the calling thread counts as one of them.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const;

  // Calls body(task, thread) for every task in [0, tasks), thread in [0, size()); returns when all are done.
  // body must not throw.
  void parallel_for(std::int64_t tasks, const std::function<void(std::int64_t task, int thread)>& body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dslad::kernels
