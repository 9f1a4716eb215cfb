#include "kernels/gemm/packed_matrix.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "tests/kernels/kernel_test.h"

namespace dslad::kernels {
namespace {

using testing::poisoned;
using testing::random_floats;
using testing::same_bits;

constexpr std::int64_t kN = 130, kK = 75;

std::vector<float> unpacked(const PackedMatrix& w) {
  std::vector<float> rows = poisoned(w.n() * w.k());
  for (std::int64_t row = 0; row < w.n(); ++row) w.unpack_row(row, rows.data() + row * w.k());
  return rows;
}

std::vector<float> rounded(const std::vector<float>& values) {
  std::vector<float> result = values;
  for (float& value : result) value = to_float(to_bf16(value));
  return result;
}

TEST(PackedMatrix, F32ToF32_RoundTrips) {
  const std::vector<float> source = random_floats(kN * kK, 1);
  PackedMatrix w(kN, kK, DType::kF32);
  w.pack_rows(0, kN, source.data());
  EXPECT_TRUE(same_bits(unpacked(w), source));
}

TEST(PackedMatrix, F32ToBf16_RoundsToNearest) {
  const std::vector<float> source = random_floats(kN * kK, 2);
  PackedMatrix w(kN, kK, DType::kBf16);
  w.pack_rows(0, kN, source.data());
  EXPECT_TRUE(same_bits(unpacked(w), rounded(source)));
}

TEST(PackedMatrix, Bf16ToBoth_IsExact) {
  const std::vector<float> source = rounded(random_floats(kN * kK, 3));
  const std::vector<bf16> stored = testing::to_bf16(source);
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    PackedMatrix w(kN, kK, dtype);
    w.pack_rows(0, kN, stored.data());
    EXPECT_TRUE(same_bits(unpacked(w), source));
  }
}

TEST(PackedMatrix, PackedInPieces_EqualsPackedAtOnce) {
  const std::vector<float> source = random_floats(kN * kK, 4);
  PackedMatrix whole(kN, kK, DType::kBf16), pieces(kN, kK, DType::kBf16);
  whole.pack_rows(0, kN, source.data());
  for (std::int64_t row = 0; row < kN; row += 13) pieces.pack_rows(row, 13, source.data() + row * kK);
  ASSERT_EQ(whole.bytes(), PackedMatrix::packed_bytes(kN, kK, DType::kBf16));
  EXPECT_EQ(std::memcmp(whole.data(), pieces.data(), whole.bytes()), 0);
}

// A second reading of the layout, written as the formula in the header: oneDNN relies on it.
TEST(PackedMatrix, LaysPairsOfKBesideEachOtherAndPadsWithZeros) {
  const std::vector<float> source = rounded(random_floats(kN * kK, 5));
  PackedMatrix w(kN, kK, DType::kBf16);
  w.pack_rows(0, kN, source.data());
  ASSERT_EQ(w.padded_n(), 192);
  ASSERT_EQ(w.padded_k(), 96);
  const auto* data = static_cast<const bf16*>(w.data());
  for (std::int64_t n = 0; n < w.padded_n(); ++n) {
    for (std::int64_t k = 0; k < w.padded_k(); ++k) {
      const bool padding = n >= kN || k >= kK;
      const float expected = padding ? 0.0f : source[static_cast<std::size_t>(n * kK + k)];
      const std::int64_t block = (n / 64) * (w.padded_k() / 32) + k / 32;
      const std::int64_t inner = (k % 32 / 2 * 64 + n % 64) * 2 + k % 2;
      ASSERT_EQ(to_float(data[block * 2048 + inner]), expected) << "n " << n << ", k " << k;
    }
  }
}

TEST(PackedMatrix, LargerThanMemory_HasNoData) {
  const PackedMatrix w(std::int64_t{1} << 30, std::int64_t{1} << 30, DType::kF32);
  EXPECT_EQ(w.data(), nullptr);
}

}  // namespace
}  // namespace dslad::kernels
