#include "schema/day_window.h"

#include <gtest/gtest.h>

namespace dslad::schema {
namespace {

bool contains(const char* text, int hour, int minute = 0) {
  return DayWindow::parse(text)->contains(hour * 60 + minute);
}

TEST(DayWindow, BeginsWithItsFirstMinuteAndEndsBeforeItsLast) {
  EXPECT_FALSE(contains("09:30-17:00", 9, 29));
  EXPECT_TRUE(contains("09:30-17:00", 9, 30));
  EXPECT_TRUE(contains("09:30-17:00", 16, 59));
  EXPECT_FALSE(contains("09:30-17:00", 17));
}

TEST(DayWindow, MayGoOverMidnight) {
  for (const int hour : {22, 23, 0, 5}) EXPECT_TRUE(contains("22:00-06:00", hour)) << hour;
  for (const int hour : {6, 12, 21}) EXPECT_FALSE(contains("22:00-06:00", hour)) << hour;
}

TEST(DayWindow, IsTheWholeDayWithoutATextOrALength) {
  for (const int hour : {0, 12, 23}) {
    EXPECT_TRUE(contains("", hour));
    EXPECT_TRUE(contains("07:00-07:00", hour));
    EXPECT_TRUE(contains("00:00-24:00", hour));
  }
}

TEST(DayWindow, OfAnyOtherTextIsRefused) {
  for (const char* text : {"22-06", "22:00", "24:01-06:00", "22:60-06:00", "22:00-6:00", "22:00-06:00 ", "-",
                           "a", "22:00--06:00", "+2:00-06:00"}) {
    EXPECT_EQ(DayWindow::parse(text).error().code, ErrorCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace dslad::schema
