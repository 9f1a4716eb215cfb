#include <algorithm>
#include <cstdint>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/huge_slab.h"
#include "kernels/cpu/parallel_rows.h"
#include "kernels/gemm/packed_matrix.h"
#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

bool is_zero(const std::byte* memory, std::size_t bytes) {
  return std::all_of(memory, memory + bytes, [](std::byte b) { return b == std::byte{0}; });
}

bool is_aligned(const std::byte* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % 64 == 0;
}

TEST(CpuDevice, Allocate_GivesZeroedAlignedMemoryOfAnySize) {
  const auto device = cpu_device();
  EXPECT_EQ(device->name(), "cpu");
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{1000}, std::size_t{5} << 20}) {
    const Device::Buffer memory = device->allocate(bytes);
    ASSERT_NE(memory, nullptr);
    EXPECT_TRUE(is_aligned(memory.get()));
    EXPECT_TRUE(is_zero(memory.get(), bytes));
    std::fill_n(memory.get(), bytes, std::byte{1});  // the next block of that size must be zero again
  }
}

TEST(CpuDevice, Allocate_GivesNullBeyondTheMemory) {
  const auto device = cpu_device();
  EXPECT_EQ(device->allocate(std::size_t{1} << 62), nullptr);
  EXPECT_EQ(device->allocate(std::numeric_limits<std::size_t>::max()), nullptr);
  EXPECT_EQ(device->make_matrix(std::int64_t{1} << 30, std::int64_t{1} << 30, WeightFormat::kF32), nullptr);
}

TEST(CpuBackend, Embed_CopiesTheRowsOfItsIds) {
  constexpr std::int64_t kRows = 100, kWidth = 300;
  const std::vector<float> table = random_floats(kRows * kWidth, 1);
  PackedMatrix packed(kRows, kWidth, WeightFormat::kF32);
  packed.pack_rows(0, kRows, table.data());
  std::vector<std::int32_t> ids;
  std::vector<float> expected;
  for (std::int32_t i = 0; i < 90; ++i) {
    ids.push_back(i * 37 % kRows);
    expected.insert(expected.end(), table.begin() + ids.back() * kWidth,
                    table.begin() + (ids.back() + 1) * kWidth);
  }
  for (const int threads : {1, 3}) {
    std::vector<float> out = poisoned(static_cast<std::int64_t>(expected.size()));
    make_cpu_backend(threads)->embed(ids, packed, out.data());
    EXPECT_TRUE(same_bits(out, expected)) << threads << " threads";
  }
}

TEST(HugeSlab, BlocksAreZeroedAlignedAndApart) {
  std::vector<AlignedBuffer> blocks;
  for (std::size_t i = 0; i < 100; ++i) {
    const std::size_t bytes = (i % 7 + 1) * 100'001;  // 40 MB: more than one slab
    blocks.push_back(allocate_in_slab(bytes));
    ASSERT_NE(blocks.back(), nullptr);
    ASSERT_TRUE(is_aligned(blocks.back().get()));
    ASSERT_TRUE(is_zero(blocks.back().get(), bytes)) << "block " << i;
    std::fill_n(blocks.back().get(), bytes, std::byte{0xff});
    if (i % 3 == 0) blocks.erase(blocks.begin());
  }
}

TEST(HugeSlab, LargeBlocksAndImpossibleOnesAreMappedAlone) {
  const AlignedBuffer large = allocate_in_slab(std::size_t{50} << 20);
  ASSERT_NE(large, nullptr);
  EXPECT_TRUE(is_aligned(large.get()));
  EXPECT_EQ(allocate_in_slab(std::size_t{1} << 62), nullptr);
}

TEST(ParallelRows, CoversEveryRowOnceInPiecesOfEnoughElements) {
  ThreadPool pool(2);
  for (const std::int64_t rows : {0, 1, 5, 129}) {
    for (const std::int64_t width : {1, 3000, 100'000}) {
      std::vector<int> visits(static_cast<std::size_t>(rows), 0);
      parallel_rows(pool, rows, width, [&](std::int64_t first, std::int64_t last) {
        EXPECT_TRUE(last == rows || (last - first + 1) * width > kMinPieceElements);
        for (std::int64_t row = first; row < last; ++row) ++visits[static_cast<std::size_t>(row)];
      });
      EXPECT_EQ(std::ranges::count(visits, 1), rows);
    }
  }
}

}  // namespace
}  // namespace dslad::kernels
