// What connections have sent and the daemon has not read: measured by any cut of the bytes, and bounded.
#include "daemon/net/inflow.h"

#include <gmock/gmock.h>
#include <string>
#include <string_view>

namespace dslad::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int kMore = 1, kCommand = 4;
constexpr std::size_t kFrame = 128;  // what a frame costs

std::string hello_of_zmtp() {
  std::string text(64, '\0');
  text[0] = '\xFF';
  text[9] = '\x7F';
  text[10] = 3;
  return text;
}

std::string hello_by_curve() {
  std::string text = hello_of_zmtp();
  text.replace(12, 5, "CURVE");
  return text;
}

std::string header(std::uint64_t bytes, int flags = 0) {
  if (bytes < 256) return {static_cast<char>(flags), static_cast<char>(bytes)};
  std::string text(9, '\0');
  text[0] = static_cast<char>(flags | 2);
  for (int i = 8; i > 0; --i, bytes >>= 8) text[i] = static_cast<char>(bytes & 0xFF);
  return text;
}

std::string frame(std::size_t bytes, int flags = 0) {
  return header(bytes, flags) + std::string(bytes, 'x');
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(MessageMeterTest, CountsWhatIsNotWholeByAnyCut) {
  const std::string sent = hello_of_zmtp() + frame(5, kCommand) + frame(300) + frame(0) +
                           frame(1'000, kMore) + frame(70, kMore) + frame(9, kCommand) + header(70'000);
  for (std::size_t piece = 1; piece <= sent.size(); piece = piece * 3 + 1) {
    MessageMeter meter;
    for (std::size_t at = 0; at < sent.size(); at += piece)
      meter.feed(bytes_of(std::string_view(sent).substr(at, piece)));
    EXPECT_EQ(3 * kFrame + 1'070, meter.half_bytes()) << piece;
    EXPECT_EQ(2U, meter.whole()) << piece;
    meter.feed(bytes_of(std::string(69'999, 'x')));
    EXPECT_EQ(3 * kFrame + 71'069, meter.half_bytes());
    meter.feed(bytes_of("x" + header(9)));
    EXPECT_EQ(kFrame, meter.half_bytes());
    EXPECT_EQ(3U, meter.whole());
    EXPECT_FALSE(meter.is_foreign());
  }
}

TEST(MessageMeterTest, KnowsWhatIsNoZmtp3) {
  for (const std::size_t wrong : {0U, 9U, 10U}) {
    std::string text = hello_of_zmtp();
    text[wrong] = 1;
    MessageMeter meter;
    meter.feed(bytes_of(text));
    EXPECT_TRUE(meter.is_foreign()) << wrong;
  }
}

TEST(MessageMeterTest, ByCurveSmallFramesAreOfAMessageUntilOneIsRead) {
  MessageMeter meter;
  meter.feed(
      bytes_of(hello_by_curve() + frame(100, kCommand) + frame(100) + frame(2'000) + frame(50) + frame(40)));
  EXPECT_EQ(1U, meter.whole());
  EXPECT_EQ(counted_bytes(2'000), meter.whole_bytes());
  EXPECT_EQ(3 * kFrame + 190, meter.half_bytes());
  meter.forgive(90);
  EXPECT_EQ(3 * kFrame + 100, meter.half_bytes());
  meter.message_read();
  EXPECT_EQ(0U, meter.half_bytes());
  meter.forgive(1);
  EXPECT_EQ(0U, meter.half_bytes());
}

class InflowTest : public ::testing::Test {
 protected:
  InflowTest() {
    inflow_.limit({10'000, 20'000, 20'000});
    for (int fd = 1; fd <= 9; ++fd) {
      inflow_.open(fd, now_);
      say(fd, hello_of_zmtp());
    }
  }
  std::vector<int> say(int fd, const std::string& text) { return inflow_.arrived(fd, bytes_of(text), now_); }

  Inflow inflow_;
  Inflow::Time now_{};
};

TEST_F(InflowTest, CutsThoseThatBeganFirst) {
  for (const int fd : {3, 1, 2}) EXPECT_THAT(say(fd, header(9'000) + std::string(6'000, 'x')), IsEmpty());
  say(3, std::string(3'000, 'x') + header(9'000) + std::string(6'000, 'x'));  // ends one, begins another
  EXPECT_THAT(say(4, header(9'000) + std::string(6'000, 'x')), ElementsAre(1, 2));
  EXPECT_FALSE(inflow_.has(1));
  EXPECT_TRUE(inflow_.has(3));
  EXPECT_EQ(2 * (6'000 + kFrame), inflow_.half_bytes());
}

TEST_F(InflowTest, CutsAMessageThatIsTooLongByItself) {
  say(5, frame(4'000, kMore));
  say(6, frame(4'000, kMore) + header(9'000));
  EXPECT_THAT(say(6, std::string(6'000, 'x')), ElementsAre(6));
  EXPECT_EQ(4'000 + kFrame, inflow_.half_bytes());
}

TEST_F(InflowTest, CutsByCurveWhoSendsSmallFramesOfWhichNoneIsRead) {
  inflow_.limit({.message_bytes = 10'000, .curve_bytes_per_s = 200});
  for (const int fd : {1, 2}) {
    inflow_.open(fd, now_);
    say(fd, hello_by_curve());
  }
  const std::string small = frame(122);
  for (int i = 0; i < 30; ++i) {
    EXPECT_THAT(say(1, small), IsEmpty());
    inflow_.read(1, 0);
    EXPECT_THAT(say(2, small), IsEmpty());  // pings
    now_ += std::chrono::seconds(1);
  }
  EXPECT_EQ(30 * 250 - 29 * 200, inflow_.half_bytes());
  for (int i = 0; i < 34; ++i) EXPECT_THAT(say(2, small), IsEmpty());
  EXPECT_THAT(say(2, small), ElementsAre(2));
  EXPECT_EQ(0U, inflow_.half_bytes());
}

TEST_F(InflowTest, ForgetsWithTheConnection) {
  say(7, header(9'000) + std::string(8'000, 'x'));
  inflow_.close(7, now_);
  inflow_.close(7, now_);
  EXPECT_EQ(0U, inflow_.half_bytes());
  say(8, header(9'000) + std::string(8'000, 'x'));
  inflow_.open(8, now_);  // the next connection with that descriptor
  EXPECT_EQ(0U, inflow_.half_bytes());
  EXPECT_THAT(say(99, "of no connection"), IsEmpty());
}

TEST_F(InflowTest, HasRoomAgainOnceItIsRead) {
  for (const int fd : {1, 2, 3}) say(fd, frame(8'000));
  EXPECT_EQ(3 * counted_bytes(8'000), inflow_.unread_bytes());
  EXPECT_FALSE(inflow_.has_room(now_));
  inflow_.read(2, counted_bytes(8'000));
  EXPECT_TRUE(inflow_.has_room(now_));
}

TEST_F(InflowTest, GivesUpThoseOfWhomNothingIsRead) {
  for (const int fd : {1, 2}) say(fd, frame(8'000));
  inflow_.read(1, counted_bytes(8'000));
  say(1, frame(8'000));
  EXPECT_THAT(inflow_.give_up(now_), IsEmpty());
  say(3, frame(8'000));
  EXPECT_THAT(inflow_.give_up(now_), ElementsAre(2, 1));
  EXPECT_EQ(counted_bytes(8'000), inflow_.unread_bytes());
}

TEST_F(InflowTest, WhatConnectionsLeaveBehindIsReadOrForgotten) {
  for (const int fd : {1, 2, 3}) say(fd, frame(8'000));
  for (const int fd : {1, 2}) inflow_.close(fd, now_);
  EXPECT_FALSE(inflow_.has_room(now_));
  inflow_.read(1, counted_bytes(8'000));
  EXPECT_EQ(2 * counted_bytes(8'000), inflow_.unread_bytes());
  now_ += std::chrono::minutes(1);
  EXPECT_TRUE(inflow_.has_room(now_));
  EXPECT_EQ(counted_bytes(8'000), inflow_.unread_bytes());
  inflow_.read(1, counted_bytes(8'000));  // was forgotten
  EXPECT_EQ(counted_bytes(8'000), inflow_.unread_bytes());
}

TEST_F(InflowTest, SubscribersSayLittle) {
  inflow_.limit({.subscriber_bytes = 1'000, .subscriber_bytes_per_s = 10});
  inflow_.open(1, now_, true);
  EXPECT_THAT(say(1, std::string(1'000, 'x')), IsEmpty());
  now_ += std::chrono::seconds(5);
  EXPECT_THAT(say(1, std::string(50, 'x')), IsEmpty());
  EXPECT_THAT(say(1, "x"), ElementsAre(1));
}

TEST_F(InflowTest, DoesNotCountSmallMessages) {
  for (int i = 0; i < 1'000; ++i) say(1, frame(300));
  EXPECT_EQ(0U, inflow_.unread_bytes());
  EXPECT_EQ(0U, counted_bytes(300));
  EXPECT_EQ(counted_bytes(1'033), counted_bytes_by_curve(1'000));
}

}  // namespace
}  // namespace dslad::daemon
