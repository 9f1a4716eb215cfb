#include "kernels/gemm/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <utility>
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
  PackedMatrix w(kN, kK, WeightFormat::kF32);
  w.pack_rows(0, kN, source.data());
  EXPECT_TRUE(same_bits(unpacked(w), source));
}

TEST(PackedMatrix, F32ToBf16_RoundsToNearest) {
  const std::vector<float> source = random_floats(kN * kK, 2);
  PackedMatrix w(kN, kK, WeightFormat::kBf16);
  w.pack_rows(0, kN, source.data());
  EXPECT_TRUE(same_bits(unpacked(w), rounded(source)));
}

TEST(PackedMatrix, PackedInPieces_EqualsPackedAtOnce) {
  const std::vector<float> source = random_floats(kN * kK, 4);
  for (const WeightFormat format : {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
    PackedMatrix whole(kN, kK, format), pieces(kN, kK, format);
    whole.pack_rows(0, kN, source.data());
    for (std::int64_t row = 0; row < kN; row += 13) pieces.pack_rows(row, 13, source.data() + row * kK);
    ASSERT_EQ(whole.bytes(), PackedMatrix::packed_bytes(kN, kK, format));
    EXPECT_EQ(std::memcmp(whole.data(), pieces.data(), whole.bytes()), 0);
  }
}

// As llama.cpp writes them: 4.5 and 8.5 bits a value, one more where each group has an offset.
TEST(PackedMatrix, QuantizedWeights_TakeAFewBitsEach) {
  EXPECT_EQ(PackedMatrix::packed_bytes(64, 320, WeightFormat::kInt8), 64 * 320 * 17 / 16);
  EXPECT_EQ(PackedMatrix::packed_bytes(64, 320, WeightFormat::kInt4), 64 * 320 * 5 / 8);
}

// Values that some scale and offset of 16 bits give exactly, as a GGUF file's blocks do.
TEST(PackedMatrix, BlocksOfGguf_AreHeldExactly) {
  std::mt19937 random(7);
  const auto any = [&](int first, int last) { return std::uniform_int_distribution(first, last)(random); };
  const auto half = [&] {
    return to_float(to_f16(std::ldexp(static_cast<float>(any(1025, 2047)), any(-21, -15))));
  };
  std::vector<float> q4_0(kN * kK), q4_1(kN * kK), q8_0(kN * kK);
  for (std::int64_t row = 0; row < kN; ++row) {
    for (std::int64_t k = 0; k < kK; k += kGroup) {
      const float scale = half() * static_cast<float>(any(0, 1) * 2 - 1), offset = -half();
      for (std::int64_t i = 0; i < std::min(kGroup, kK - k); ++i) {
        const auto at = static_cast<std::size_t>(row * kK + k + i);
        const int level = i == 0 ? 0 : i == 1 ? 15 : any(0, 15);
        q4_0[at] = scale * static_cast<float>(level - 8);
        q4_1[at] = std::abs(scale) * static_cast<float>(level) + offset;
        q8_0[at] = scale * static_cast<float>(i == 0 ? 127 : any(-127, 127));
      }
    }
  }
  for (const auto& [source, format] :
       {std::pair{&q4_0, WeightFormat::kInt4}, std::pair{&q4_1, WeightFormat::kInt4},
        std::pair{&q8_0, WeightFormat::kInt8}}) {
    PackedMatrix w(kN, kK, format);
    w.pack_rows(0, kN, source->data());
    EXPECT_EQ(unpacked(w), *source);
  }
}

// Every error is at most half a level, but for the few that the best line for a group leaves outside.
TEST(PackedMatrix, QuantizedWeights_AreNearTheirSource) {
  const std::vector<float> source = random_floats(kN * kK, 6, 0.05f);
  for (const auto& [format, most] :
       {std::pair{WeightFormat::kInt8, 0.006}, std::pair{WeightFormat::kInt4, 0.09}}) {
    PackedMatrix w(kN, kK, format);
    w.pack_rows(0, kN, source.data());
    const std::vector<float> held = unpacked(w);
    double error = 0, power = 0;
    for (std::size_t i = 0; i < source.size(); ++i) {
      error += std::pow(double{held[i]} - double{source[i]}, 2);
      power += std::pow(double{source[i]}, 2);
    }
    EXPECT_LT(std::sqrt(error / power), most);
    EXPECT_GT(error, 0.0);
  }
}

// Where a scale is a float16 of few bits: half a level off, and not cut off.
TEST(PackedMatrix, TinyWeights_KeepTheirLargest) {
  for (const float largest : {7.6e-3f, 1e-3f, 1e-4f, 1.1e-5f, 7.7e-6f}) {
    std::vector<float> source(64 * kGroup, 0.0f);
    source[0] = largest;
    PackedMatrix w(64, kGroup, WeightFormat::kInt8);
    w.pack_rows(0, 64, source.data());
    std::vector<float> row(kGroup);
    w.unpack_row(0, row.data());
    const float level = std::max(largest / 127.0f, 0x1p-24f);
    EXPECT_NEAR(row[0], largest, level) << largest;
  }
}

TEST(PackedMatrix, GroupsOfOneValueOrOfNothing_AreExact) {
  for (const float value : {0.0f, 0.25f, -3.0f}) {
    const std::vector<float> source(kN * kK, value);
    PackedMatrix w(kN, kK, WeightFormat::kInt4);
    w.pack_rows(0, kN, source.data());
    EXPECT_TRUE(same_bits(unpacked(w), source));
  }
}

// A second reading of the layout, written as the formula in the header: oneDNN relies on it.
TEST(PackedMatrix, LaysPairsOfKBesideEachOtherAndPadsWithZeros) {
  const std::vector<float> source = rounded(random_floats(kN * kK, 5));
  PackedMatrix w(kN, kK, WeightFormat::kBf16);
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
  const PackedMatrix w(std::int64_t{1} << 30, std::int64_t{1} << 30, WeightFormat::kF32);
  EXPECT_EQ(w.data(), nullptr);
}

}  // namespace
}  // namespace dslad::kernels
