#include "tests/kernels/cuda_on_host/executor.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/cuda/reduce.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels::cuda {
namespace {

using testing::Executor;
using testing::KernelError;
using testing::Order;

// Runs `body` in one block of 64 threads.
template <class Body>
void run_block(const Body& body, Order order = Order::kAscending, std::size_t shared_bytes = 0) {
  Executor(order).run({1, 1, 1, shared_bytes}, 64, body);
}

template <class Body>
std::string error_of(const Body& body) {
  try {
    run_block(body);
  } catch (const KernelError& error) {
    return error.what();
  }
  return "";
}

TEST(CudaExecutor, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(2 * 3 * 4 * 64);
  Executor().run({2, 3, 4}, 64, [&] {
    const BlockIndex block = block_index();
    ++runs[static_cast<std::size_t>(((block.z * 3 + block.y) * 2 + block.x) * 64 + thread_index())];
  });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
  Executor().run({0, 3, 4}, 64, [] { FAIL() << "no blocks, no threads"; });
  EXPECT_THROW(Executor().run({1, 1, 70000}, 32, [] {}), KernelError);
  EXPECT_THROW(Executor().run({1, 1, 1, 160 * 1024}, 32, [] {}), KernelError);
}

TEST(CudaExecutor, ACopyIsThereWhenItsThreadHasWaitedAndForOthersBehindABarrier) {
  std::vector<std::uint32_t> from(64 * 4), early(64), seen(64);
  std::iota(from.begin(), from.end(), 0u);
  run_block(
      [&] {
        auto* shared = dynamic_shared<std::uint32_t>();
        const int i = thread_index();
        copy16_later(shared + 4 * i, from.data() + 4 * i, i % 2 == 0);
        early[static_cast<std::size_t>(i)] = shared[4 * i];
        wait_for_copies();
        sync_block();
        seen[static_cast<std::size_t>(i)] = shared[4 * (63 - i)];
      },
      Order::kAscending, 64 * 16);
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(early[i], ~0u) << "it is on its way";
    EXPECT_EQ(seen[i], i % 2 == 1 ? 4 * (63 - i) : 0u);
  }
  EXPECT_THROW(run_block([&] { copy16_later(dynamic_shared<std::uint32_t>(), from.data(), true); },
                         Order::kAscending, 16),
               KernelError);
}

TEST(CudaExecutor, AfterABarrier_AllThreadsSeeWhatAllWroteBefore) {
  for (const Order order : {Order::kAscending, Order::kDescending}) {
    std::vector<int> seen(64);
    run_block(
        [&] {
          int* shared = dynamic_shared<int>();
          const int i = thread_index();
          for (int round = 0; round < 3; ++round) {
            shared[i] = 100 * round + i;
            sync_block();
            seen[static_cast<std::size_t>(i)] = shared[63 - i];
            sync_block();
          }
        },
        order, 64 * sizeof(int));
    for (int i = 0; i < 64; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], 200 + 63 - i);
  }
}

// What a device leaves to chance gives different results in the two orders.
TEST(CudaExecutor, AMissingBarrier_Shows) {
  std::vector<float> sums[2];
  for (const Order order : {Order::kAscending, Order::kDescending}) {
    std::vector<float>& sum = sums[order == Order::kAscending ? 0 : 1];
    sum.resize(64);
    run_block(
        [&] {
          float* shared = dynamic_shared<float>();
          shared[thread_index()] = 1.0f;
          sum[static_cast<std::size_t>(thread_index())] = std::accumulate(shared, shared + 64, 0.0f);
        },
        order, 64 * sizeof(float));
  }
  EXPECT_TRUE(std::isnan(sums[0].front())) << "poison of threads that have not written yet";
  EXPECT_FALSE(kernels::testing::same_bits(sums[0], sums[1]));
}

TEST(CudaExecutor, SharedMemoryIsPoisonedForEachBlock) {
  struct Pair {
    float x, y;
  };
  int poisoned = 0;
  Executor().run({3, 1, 1, 16}, 32, [&] {
    Pair& pair = static_shared<Pair>();
    float* dynamic = dynamic_shared<float>();
    if (thread_index() == 0) {
      poisoned += std::isnan(pair.x) && std::isnan(pair.y) && std::isnan(dynamic[3]) ? 1 : 0;
      pair = {1, 2};
      dynamic[3] = 4;
    }
    sync_block();
    EXPECT_EQ(static_shared<Pair>().y, 2) << "one of a type";
  });
  EXPECT_EQ(poisoned, 3);
}

TEST(CudaExecutor, BarriersInBranches_AreErrors) {
  int others = 0;
  const auto branches = [&] {
    if (thread_index() < 32) {
      sync_block();
    } else {
      ++others;
      sync_block();
    }
  };
  EXPECT_NE(error_of(branches).find("divergent barrier"), std::string::npos);
  const auto some_end = [] {
    if (thread_index() % 2 == 0) sync_block();
  };
  EXPECT_NE(error_of(some_end).find("32 of 64 threads expected at"), std::string::npos) << error_of(some_end);
  const auto some_lanes = [] {
    if (thread_index() != 5) shuffle_xor(1, 1);
  };
  EXPECT_NE(error_of(some_lanes).find("1 of 32 threads expected at"), std::string::npos);
  EXPECT_EQ(error_of([] { sync_block(); }), "") << "and the next block is none the worse";
}

TEST(CudaExecutor, WarpsReduceOnTheirOwn) {
  std::vector<float> sums(64), largest(64), of_block(64);
  for (const Order order : {Order::kAscending, Order::kDescending}) {
    run_block(
        [&] {
          const int i = thread_index();
          sums[static_cast<std::size_t>(i)] = warp_sum(static_cast<float>(i));
          if (i >= 32) largest[static_cast<std::size_t>(i)] = warp_max(static_cast<float>(-i));
          of_block[static_cast<std::size_t>(i)] = block_sum<64>(static_cast<float>(i));
        },
        order);
    EXPECT_EQ(sums[0], 31 * 16);
    EXPECT_EQ(sums[63], 31 * 16 + 32 * 32);
    EXPECT_EQ(largest[40], -32);
    EXPECT_EQ(of_block, std::vector<float>(64, 63 * 32));
  }
}

TEST(CudaExecutor, MatrixInstruction_IsTheProductOfItsFragments) {
  const std::vector<float> a = kernels::testing::random_floats(16 * 16, 1),
                           b = kernels::testing::random_floats(16 * 8, 2);
  const std::vector<bf16> x = kernels::testing::to_bf16(a), y = kernels::testing::to_bf16(b);
  std::vector<float> expected(16 * 8), actual(16 * 8);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = 1.0f;
    for (std::size_t k = 0; k < 16; ++k)
      expected[i] += to_float(x[i / 8 * 16 + k]) * to_float(y[k * 8 + i % 8]);
  }
  Executor().run({1}, 32, [&] {
    const auto at = [&](const std::vector<bf16>& m, std::size_t i) { return std::uint32_t{m[i].bits}; };
    const std::size_t group = static_cast<std::size_t>(thread_index()) / 4,
                      pair = 2 * (static_cast<std::size_t>(thread_index()) % 4);
    std::uint32_t fa[4], fb[2];
    for (std::size_t r = 0; r < 4; ++r) {
      const std::size_t element = (group + r % 2 * 8) * 16 + pair + r / 2 * 8;
      fa[r] = at(x, element) | at(x, element + 1) << 16;
    }
    for (std::size_t r = 0; r < 2; ++r)
      fb[r] = at(y, (pair + 8 * r) * 8 + group) | at(y, (pair + 8 * r + 1) * 8 + group) << 16;
    float c[4] = {1, 1, 1, 1};
    mma_16x8x16(c, fa, fb);
    for (std::size_t i = 0; i < 4; ++i) actual[(group + i / 2 * 8) * 8 + pair + i % 2] = c[i];
  });
  EXPECT_TRUE(kernels::testing::close(actual, expected, 1e-6));
}

// Two 8-column fragments b of a 16 x 16 matrix that lies row by row.
TEST(CudaExecutor, TransposedLoad_GivesFragmentsOfRowMajorMatrices) {
  alignas(16) bf16 matrix[16][16];
  for (int k = 0; k < 16; ++k) {
    for (int n = 0; n < 16; ++n) matrix[k][n] = {static_cast<std::uint16_t>(16 * k + n)};
  }
  Executor().run({1}, 32, [&] {
    const int lane = thread_index();
    std::uint32_t r[4];
    load_matrix_transposed(r, &matrix[lane % 16][lane / 16 * 8]);
    for (int i = 0; i < 4; ++i) {
      const auto first = static_cast<std::uint32_t>(16 * (2 * (lane % 4) + i % 2 * 8) + lane / 4 + i / 2 * 8);
      EXPECT_EQ(r[i], first | (first + 16) << 16);
    }
  });
}

}  // namespace
}  // namespace dslad::kernels::cuda
