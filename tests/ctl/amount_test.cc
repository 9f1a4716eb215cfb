// Shares: what people write is understood exactly, and nothing else is. Durations: tests/schema.
#include "ctl/amount.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>

namespace dslad::ctl {
namespace {

TEST(ParseShare, AnyBytes_AreTakenWithinBoundsOrRefused) {
  constexpr std::string_view kBytes = "0123456789.eE+-msmindh% \n\0x\xFF";
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 100'000; ++i) {
    std::string text(random() % 9, '\0');
    for (char& c : text) c = kBytes[random() % kBytes.size()];
    if (const Result<double> share = parse_share(text); share) {
      EXPECT_TRUE(*share >= 0 && *share <= 1) << text;
    }
  }
}

TEST(ParseShare, NumbersAndPercentages_AreTheSame) {
  for (int tenths = 0; tenths <= 1000; ++tenths) {
    const Result<double> number = parse_share(fmt::format("{}", tenths / 1000.0));
    const Result<double> percentage = parse_share(fmt::format("{}.{}%", tenths / 10, tenths % 10));
    ASSERT_TRUE(number && percentage) << tenths;
    EXPECT_DOUBLE_EQ(*number, tenths / 1000.0);
    EXPECT_DOUBLE_EQ(*percentage, *number);
  }
}

TEST(ParseShare, WhatIsNone_IsNamedAndRefused) {
  for (const std::string_view text : {"", "%", "half", "1.01", "101%", "-0.1", "-0", "-1%", "98 %", "98%%",
                                      "0.5x", "nan", "nan%", "inf", "1e9"}) {
    const Result<double> share = parse_share(text);
    ASSERT_FALSE(share) << text;
    EXPECT_NE(share.error().message.find(fmt::format("'{}'", text)), std::string::npos)
        << share.error().message;
  }
}

TEST(ParseShare, PercentageWithoutItsSign_IsExplained) {
  const Result<double> share = parse_share("98");
  ASSERT_FALSE(share);
  EXPECT_EQ(share.error().message, "'98' is above 1: write 0.98 or 98%");
}

}  // namespace
}  // namespace dslad::ctl
