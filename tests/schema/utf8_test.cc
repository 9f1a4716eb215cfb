#include "base/utf8.h"

#include <gtest/gtest.h>

namespace dslad::schema {
namespace {

TEST(Utf8, TakesEveryLengthOfSequence) {
  EXPECT_TRUE(valid_utf8(""));
  EXPECT_TRUE(valid_utf8("plain"));
  EXPECT_TRUE(valid_utf8("\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \xF4\x8F\xBF\xBF"));
}

TEST(Utf8, RefusesOverlongSurrogateAndOutOfRange) {
  EXPECT_FALSE(valid_utf8("\xC0\xAF"));
  EXPECT_FALSE(valid_utf8("\xE0\x80\xAF"));
  EXPECT_FALSE(valid_utf8("\xF0\x80\x80\xAF"));
  EXPECT_FALSE(valid_utf8("\xED\xA0\x80"));
  EXPECT_FALSE(valid_utf8("\xF4\x90\x80\x80"));
  EXPECT_FALSE(valid_utf8("\xFF"));
}

TEST(Utf8, RefusesStrayAndMissingContinuation) {
  EXPECT_FALSE(valid_utf8("\x80"));
  EXPECT_FALSE(valid_utf8("\xE2\x82"));
  EXPECT_FALSE(valid_utf8("\xE2\x82z"));
}

TEST(Utf8, PrefixNeverSplitsACharacter) {
  const std::string text = "a\xE2\x82\xAC";
  EXPECT_EQ(utf8_prefix(text, 4), text);
  EXPECT_EQ(utf8_prefix(text, 3), "a");
  EXPECT_EQ(utf8_prefix(text, 1), "a");
  EXPECT_EQ(utf8_prefix(text, 0), "");
}

}  // namespace
}  // namespace dslad::schema
