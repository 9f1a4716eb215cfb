#include "worker/text/stream_decoder.h"

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "tests/worker/fake_tokenizer.h"
#include "worker/text/text_check.h"

namespace dslad::worker {
namespace {

using testing::FakeTokenizer;

// One id for every byte value.
FakeTokenizer byte_tokenizer() {
  std::vector<std::string> pieces;
  pieces.reserve(256);
  for (int byte = 0; byte < 256; ++byte) pieces.push_back(std::string(1, static_cast<char>(byte)));
  return FakeTokenizer(std::move(pieces));
}

// What feeding `bytes` one by one gives; each piece must be whole characters.
std::string decode_bytes(std::string_view bytes) {
  static const FakeTokenizer kTokenizer = byte_tokenizer();
  StreamDecoder decoder(kTokenizer, TextPosition::kContinuation);
  std::string text;
  for (const char byte : bytes) {
    const std::string piece = decoder.add(static_cast<unsigned char>(byte));
    EXPECT_EQ(find_malformed_utf8(piece), std::string::npos);
    text += piece;
  }
  return text + decoder.finish();
}

TEST(StreamDecoder, CharactersCutByTokens_ComeOutWhole) {
  const FakeTokenizer tokenizer({"a\xF0\x9F", "\x99",
                                 "\x82"
                                 "b\xC3",
                                 "\xA9"});
  StreamDecoder decoder(tokenizer, TextPosition::kContinuation);
  EXPECT_EQ(decoder.add(0), "a");
  EXPECT_EQ(decoder.add(1), "");
  EXPECT_EQ(decoder.add(2), "🙂b");
  EXPECT_EQ(decoder.add(3), "é");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, MalformedParts_BecomeOneReplacementEach) {
  EXPECT_EQ(decode_bytes("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(decode_bytes("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(decode_bytes("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(decode_bytes("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(decode_bytes("\xF0\x9F\x99z"), "\uFFFDz");                      // cut short: one maximal part
  EXPECT_EQ(decode_bytes("\xE2\x82\xE2\x82\xAC"), "\uFFFD€");
}

TEST(StreamDecoder, CharacterCutAtTheEnd_IsHeldBackThenReplaced) {
  const FakeTokenizer tokenizer({"x\xF0\x9F\x99"});
  StreamDecoder decoder(tokenizer, TextPosition::kContinuation);
  EXPECT_EQ(decoder.add(0), "x");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, LeadingSpace_IsDroppedOnlyAtTheBeginning) {
  const FakeTokenizer tokenizer({" Once", " upon", ""}, true);
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{2, 0, 1}, TextPosition::kBeginning), "Once upon");
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{0, 1}, TextPosition::kContinuation), " Once upon");
  const FakeTokenizer exact({" Once"});
  EXPECT_EQ(exact.decode(std::vector<TokenId>{0}, TextPosition::kBeginning), " Once");
}

TEST(StreamDecoder, UnknownIds_GiveNoText) {
  const FakeTokenizer tokenizer({"a"});
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{-1, 0, 1, INT32_MAX, INT32_MIN}, TextPosition::kBeginning),
            "a");
}

TEST(Utf8, MalformedBytes_AreNamedByOffset) {
  EXPECT_EQ(find_malformed_utf8("plain ż 日本 🙂 \U0010FFFF"), std::string::npos);
  EXPECT_EQ(find_malformed_utf8("abc\xFF"), 3u);
  EXPECT_EQ(find_malformed_utf8("ab\xE2\x82"), 2u);
  const Status status = check_utf8("abc\xFFz");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(status.error().message.find("byte 0xFF at offset 3"), std::string::npos)
      << status.error().message;
}

}  // namespace
}  // namespace dslad::worker
