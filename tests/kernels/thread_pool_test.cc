#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace dslad::kernels {
namespace {

class ThreadPoolOfSize : public ::testing::TestWithParam<int> {};

TEST_P(ThreadPoolOfSize, RunsEveryTaskOnceWithAValidThread) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  for (const std::int64_t tasks : {0, 1, 2, 3, 7, 100}) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
    pool.parallel_for(tasks, [&](std::int64_t task, int thread) {
      EXPECT_GE(thread, 0);
      EXPECT_LT(thread, pool.size());
      ++runs[static_cast<std::size_t>(task)];
    });
    for (const std::atomic<int>& count : runs) EXPECT_EQ(count.load(), 1);
  }
}

// Plain memory handed from loop to loop: a missing ordering is a data race that ThreadSanitizer reports.
TEST_P(ThreadPoolOfSize, LoopSeesWhatTheOneBeforeWrote) {
  ThreadPool pool(GetParam());
  constexpr std::int64_t kTasks = 5;
  std::vector<std::int64_t> values(kTasks, 0), sums(kTasks, 0);
  for (std::int64_t round = 1; round <= 2000; ++round) {
    pool.parallel_for(kTasks,
                      [&](std::int64_t task, int) { values[static_cast<std::size_t>(task)] = round; });
    pool.parallel_for(kTasks, [&](std::int64_t task, int) {
      sums[static_cast<std::size_t>(task)] = values[static_cast<std::size_t>((task + 1) % kTasks)];
    });
    for (const std::int64_t sum : sums) ASSERT_EQ(sum, round);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolOfSize, ::testing::Values(1, 2, 3, 8));

TEST(ThreadPool, WakesThreadsThatWentToSleep) {
  ThreadPool pool(2);
  pool.parallel_for(2, [](std::int64_t, int) {});
  // Two tasks that need each other: done only if the second thread wakes up while the first still runs.
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> arrived{0};
    pool.parallel_for(2, [&](std::int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), 2);
    const auto idle_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (std::chrono::steady_clock::now() < idle_until) std::this_thread::yield();
  }
}

TEST(ThreadPool, OneThread_RunsTasksInOrderOnTheCaller) {
  ThreadPool pool(1);
  std::vector<std::int64_t> order;
  const std::thread::id caller = std::this_thread::get_id();
  pool.parallel_for(4, [&](std::int64_t task, int) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(task);
  });
  EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace dslad::kernels
