// Durations: what people write is understood exactly, and nothing else is.
#include "schema/duration.h"

#include <cmath>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <vector>

#include "schema/limits.h"

namespace dslad::schema {
namespace {

struct Duration {
  const char* text;
  std::uint64_t ms;
};

class ParseDuration : public ::testing::TestWithParam<Duration> {};

TEST_P(ParseDuration, IsUnderstood) {
  const Result<std::uint64_t> ms = parse_duration(GetParam().text);
  ASSERT_TRUE(ms) << ms.error().message;
  EXPECT_EQ(*ms, GetParam().ms);
}

INSTANTIATE_TEST_SUITE_P(Texts, ParseDuration,
                         ::testing::Values(Duration{"0", 0}, Duration{"90", 90'000}, Duration{"90s", 90'000},
                                           Duration{"1.5", 1500}, Duration{"0.29", 290},
                                           Duration{"1e3", 1'000'000}, Duration{"250ms", 250},
                                           Duration{"10m", 600'000}, Duration{"10min", 600'000},
                                           Duration{"2h", 7'200'000}, Duration{"1d", 86'400'000},
                                           Duration{"1h30m", 5'400'000}, Duration{"1d2h3m4s5ms", 93'784'005},
                                           Duration{"1.5h30s", 5'430'000}, Duration{"3650d", kMaxExpiryMs}));

TEST(ParseDuration, WhatPeopleMayAlsoWrite_IsNamedAndRefused) {
  for (const std::string_view text :
       {"",      " ",     "s",     "m10",    "10 m",   " 10",  "10m ",  "ten",   "10x",  "10mm",
        "10sec", "1h30",  "30m1h", "1m1m",   "1s2min", "0x10", "1,5",   "nan",   "inf",  "--5",
        "1e",    "1e999", "3651d", "1e300d", "-1",     "-0",   "1h-5m", "10m\n", "5\xFF"}) {
    const Result<std::uint64_t> ms = parse_duration(text);
    ASSERT_FALSE(ms) << "'" << text << "' is " << *ms;
    EXPECT_EQ(ms.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(ms.error().message.find(fmt::format("'{}'", text)), std::string::npos) << ms.error().message;
  }
}

TEST(ParseDuration, EachWholeNumberOfMilliseconds_IsThatNumberInEachUnit) {
  std::mt19937_64 random(20251127);  // NOLINT(cert-msc51-cpp): the same each time
  std::uniform_real_distribution<double> magnitude(0, std::log(static_cast<double>(kMaxExpiryMs)));
  for (int i = 0; i < 2000; ++i) {
    const auto ms = static_cast<std::uint64_t>(std::exp(magnitude(random)));
    const std::vector<std::string> texts = {
        fmt::format("{}ms", ms), fmt::format("{}.{:03}", ms / 1000, ms % 1000),
        fmt::format("{}m{}ms", ms / 60'000, ms % 60'000),
        fmt::format("{}d{}h{}m{}s{}ms", ms / 86'400'000, ms / 3'600'000 % 24, ms / 60'000 % 60,
                    ms / 1000 % 60, ms % 1000)};
    for (const std::string& text : texts) {
      const Result<std::uint64_t> parsed = parse_duration(text);
      ASSERT_TRUE(parsed) << text << ": " << parsed.error().message;
      EXPECT_EQ(*parsed, ms) << text;
    }
  }
}

TEST(ParseDuration, AnyBytes_AreTakenWithinBoundsOrRefused) {
  constexpr std::string_view kBytes = "0123456789.eE+-msmindh% \n\0x\xFF";
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i < 100'000; ++i) {
    std::string text(random() % 9, '\0');
    for (char& c : text) c = kBytes[random() % kBytes.size()];
    if (const Result<std::uint64_t> ms = parse_duration(text); ms) {
      EXPECT_LE(*ms, kMaxExpiryMs) << text;
    }
  }
}

}  // namespace
}  // namespace dslad::schema
