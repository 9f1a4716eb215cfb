// Documents cut to pieces that fit: nothing is lost, nothing is split that could stay whole.
#include "worker/tasks/windows.h"

#include <gtest/gtest.h>
#include <random>

#include "base/utf8.h"

namespace dslad::worker {
namespace {

constexpr std::int64_t kAround = 3;  // tokens of the prompt itself

// A token a word or a piece of white space, and the prompt's.
Result<std::vector<TokenId>> encode_words(std::string_view piece) {
  EXPECT_TRUE(valid_utf8(piece)) << "a character is cut";
  std::vector<TokenId> ids(kAround, 0);
  for (std::size_t at = 0; at < piece.size(); ++at) {
    if (at == 0 || (piece[at] == ' ' || piece[at] == '\n') != (piece[at - 1] == ' ' || piece[at - 1] == '\n'))
      ids.push_back(1);
  }
  return ids;
}

std::int64_t tokens_of(std::string_view text) {
  return std::ssize(*encode_words(text));
}

std::string_view text_of(std::string_view document, const Window& window) {
  return document.substr(window.bytes.begin, window.bytes.end - window.bytes.begin);
}

// Paragraphs of sentences of words, some of them not of ASCII.
std::string random_document(std::mt19937& random, int paragraphs) {
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  constexpr const char* kLetters[] = {"a", "b", "ö", "漢", "🙂", "x"};
  std::string text;
  for (int p = 0; p < paragraphs; ++p) {
    for (int sentence = below(5); sentence >= 0; --sentence) {
      for (int word = below(12); word >= 0; --word) {
        for (int letter = below(7); letter >= 0; --letter) text += kLetters[below(6)];
        text += word > 0 ? " " : ". ";
      }
    }
    text += "\n\n";
  }
  return text;
}

TEST(Windows, CoverTheDocument_FitTheLimit_AndShareALittle) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const std::string document = random_document(random, 1 + round % 40);
    const std::int64_t whole = tokens_of(document);
    const std::int64_t limit = kAround + 20 + round % 50;
    for (const std::int64_t overlap : {std::int64_t{0}, limit / 16, limit / 3}) {
      const auto windows = windows_of(document, {whole, limit, overlap}, encode_words);
      ASSERT_TRUE(windows.ok()) << windows.error().message;
      EXPECT_EQ(windows->front().bytes.begin, 0u);
      EXPECT_EQ(windows->back().bytes.end, document.size());
      for (std::size_t i = 0; i < windows->size(); ++i) {
        const Window& window = (*windows)[i];
        EXPECT_EQ(window.ids, *encode_words(text_of(document, window)));
        EXPECT_LE(std::ssize(window.ids), limit);
        if (i == 0) continue;
        const Window& before = (*windows)[i - 1];
        EXPECT_LE(window.bytes.begin, before.bytes.end) << "text is left out";
        EXPECT_GT(window.bytes.begin, before.bytes.begin);
        if (overlap == 0) {
          EXPECT_EQ(window.bytes.begin, before.bytes.end);
        }
      }
      const auto enough = (whole - kAround) / std::max<std::int64_t>(limit - kAround - overlap, 1) + 1;
      EXPECT_LE(std::ssize(*windows), 2 * enough + 2) << "of " << whole << " tokens by " << limit;
    }
  }
}

TEST(Windows, EndWhereAParagraphDoes_AndAreOfAboutOneLength) {
  std::string document;
  for (int i = 0; i < 100; ++i) document += "This paragraph has exactly eight words here, so.\n\n";
  const auto windows = windows_of(document, {tokens_of(document), 400, 0}, encode_words);
  ASSERT_TRUE(windows.ok());
  ASSERT_EQ(windows->size(), 5u) << "1,600 tokens";
  for (const Window& window : *windows) {
    EXPECT_TRUE(text_of(document, window).ends_with("so.\n\n"));
    EXPECT_GT(std::ssize(window.ids), 250);
  }
}

TEST(Windows, OfTextWithoutASpace_AreCutBetweenCharacters) {
  std::string document;
  for (int i = 0; i < 3000; ++i) document += "漢";
  const auto encode = [](std::string_view piece) -> Result<std::vector<TokenId>> {
    EXPECT_TRUE(valid_utf8(piece));
    return std::vector<TokenId>(piece.size() / 3 + kAround);
  };
  const auto windows = windows_of(document, {3000 + kAround, 500, 30}, encode);
  ASSERT_TRUE(windows.ok());
  EXPECT_GE(windows->size(), 7u);
  EXPECT_LE(windows->size(), 9u);
}

TEST(Windows, WhereNothingFits_TheErrorSaysHowLittleThereIs) {
  for (const std::int64_t limit : {std::int64_t{-5}, std::int64_t{0}, kAround}) {
    const auto windows = windows_of("some words here", {8, limit, 0}, encode_words);
    ASSERT_FALSE(windows.ok());
    EXPECT_EQ(windows.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(windows.error().message.find(std::to_string(limit) + " tokens"), std::string::npos);
    EXPECT_FALSE(without_middle("some words here", {8, limit, 0}, encode_words).ok());
  }
}

TEST(Windows, AnErrorOfTheEncoderIsTheCallers) {
  const auto encode = [](std::string_view) -> Result<std::vector<TokenId>> {
    return Error{ErrorCode::kCorrupt, "no"};
  };
  EXPECT_EQ(windows_of("some words", {100, 10, 0}, encode).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(without_middle("some words", {100, 50, 0}, encode).error().code, ErrorCode::kCorrupt);
}

TEST(WithoutMiddle, KeepsBeginningAndEnd_AndFits) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const std::string document = "first words. " + random_document(random, 20) + "the last words.";
    const std::int64_t whole = tokens_of(document), limit = kAround + 24 + round % 60;
    if (whole <= limit) continue;
    std::string kept;
    const auto cut = without_middle(document, {whole, limit, 0}, [&](std::string_view piece) {
      kept = piece;
      return encode_words(piece);
    });
    ASSERT_TRUE(cut.ok()) << cut.error().message;
    EXPECT_LE(std::ssize(*cut), limit);
    EXPECT_GE(std::ssize(*cut), limit / 3) << "more was left out than had to be";
    const std::size_t gap = kept.find(kLeftOut);
    ASSERT_NE(gap, std::string::npos);
    EXPECT_TRUE(document.starts_with(kept.substr(0, gap)));
    EXPECT_TRUE(document.ends_with(kept.substr(gap + kLeftOut.size())));
    EXPECT_TRUE(kept.starts_with("first"));
    EXPECT_TRUE(kept.ends_with("words."));
  }
}

}  // namespace
}  // namespace dslad::worker
