#include "kernels/tensor.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace dslad::kernels {
namespace {

TEST(F16, EveryValue_RoundTrips) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const f16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(to_f16(value))));
    } else {
      ASSERT_EQ(to_f16(value).bits, bits);
    }
  }
}

TEST(F16, ValuesAreThoseOfTheFormat) {
  EXPECT_EQ(to_float(f16{0x3c00}), 1.0f);
  EXPECT_EQ(to_float(f16{0xc000}), -2.0f);
  EXPECT_EQ(to_float(f16{0x7bff}), 65504.0f);
  EXPECT_EQ(to_float(f16{0x0400}), 0x1p-14f);
  EXPECT_EQ(to_float(f16{0x8001}), -0x1p-24f);
  EXPECT_EQ(to_float(f16{0x7c00}), std::numeric_limits<float>::infinity());
}

// Between any two neighbours: to the nearer one, halfway to the even one.
TEST(F16, RoundsToNearest) {
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float low = to_float(f16{half}), high = to_float(f16{static_cast<std::uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(to_f16(middle).bits, bits + bits % 2);
    ASSERT_EQ(to_f16(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(to_f16(std::nextafter(middle, 1e9f)).bits, bits + 1);
    ASSERT_EQ(to_f16(-middle).bits, 0x8000 | (bits + bits % 2));
  }
  EXPECT_EQ(to_f16(65519.99f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(-1e30f).bits, 0xfc00);
}

}  // namespace
}  // namespace dslad::kernels
