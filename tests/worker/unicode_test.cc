// Every character, against the classes and forms that the `tokenizers` package has it in.
#include <cstdint>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/worker/test_files.h"
#include "worker/text/code_points.h"
#include "worker/text/normalizer.h"
#include "worker/text/regex.h"
#include "worker/text/unicode_ages.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

const json& tables() {
  static const json read = testing::read_json(testing::golden_path("tokenizers/unicode.json"));
  return read;
}

constexpr char32_t kEnd = 0x110000;

bool is_surrogate(char32_t c) {
  return c >= 0xD800 && c < 0xE000;
}

// All characters in order.
const std::string& all_characters() {
  static const std::string all = [] {
    std::string text;
    for (char32_t c = 0; c < kEnd; ++c) {
      if (!is_surrogate(c)) append_utf8(c, text);
    }
    return text;
  }();
  return all;
}

// [first, last, first, last, ...] of the characters that `regex` matches one by one.
std::vector<std::uint32_t> members(const Regex& regex) {
  std::vector<TextRange> matches;
  Regex::Search search(regex);
  EXPECT_TRUE(search.find_all(all_characters(), matches).ok());
  std::vector<std::uint32_t> ranges;
  for (const TextRange& match : matches) {
    const std::uint32_t c = code_point_at(all_characters(), match.begin).value;
    if (!ranges.empty() && ranges.back() + 1 == c) {
      ranges.back() = c;
    } else {
      ranges.insert(ranges.end(), 2, c);
    }
  }
  return ranges;
}

void expect_members(const Result<Regex>& regex, const json& expected, const std::string& name) {
  ASSERT_TRUE(regex.ok()) << regex.error().message;
  EXPECT_EQ(members(*regex), expected.get<std::vector<std::uint32_t>>()) << name;
}

TEST(Unicode, ClassesOfPatterns_HoldTheCharactersOfOniguruma) {
  for (const auto& [pattern, expected] : tables()["classes"].items()) {
    expect_members(Regex::compile(pattern), expected, pattern);
  }
  // The same within brackets, and what is left of all characters without it.
  expect_members(Regex::compile("[\\p{L}]"), tables()["classes"]["\\p{L}"], "[\\p{L}]");
  expect_members(Regex::compile("[^\\P{White_Space}]"), tables()["classes"]["\\s"], "[^\\P{White_Space}]");
  expect_members(Regex::compile("(?!\\P{N})."), tables()["classes"]["\\p{N}"], "(?!\\P{N}).");
}

TEST(Unicode, WordsDigitsAndPunctuation_AreThoseOfAddedTokensAndPreTokenizers) {
  expect_members(Regex::compile_pcre(word_pattern()), tables()["word"], "word");
  expect_members(Regex::compile_pcre(digit_pattern()), tables()["Digits"], "Digits");
  expect_members(Regex::compile_pcre(punctuation_pattern()), tables()["Punctuation"], "Punctuation");
}

// FNV-1a of what each character becomes between two letters, and before an accent that may go first.
std::uint64_t checksum(const NormalizerStep& step) {
  constexpr char32_t kPart = 4096, kEndOfPlanesInUse = 0x30000;
  const auto normalizer = Normalizer::create({step});
  std::uint64_t total = 0xCBF29CE484222325;
  for (char32_t begin = 0; begin < kEndOfPlanesInUse; begin += kPart) {
    std::string text;
    for (char32_t c = begin; c < begin + kPart; ++c) {
      if (is_surrogate(c)) continue;
      append_utf8(c, text += 'e');
      append_utf8(c, text += "xe");
      text += "\u0334";
    }
    const auto changed = normalizer->apply(text, TextPlace::kFirst);
    for (const char byte : *changed) total = (total ^ static_cast<unsigned char>(byte)) * 0x100000001B3;
  }
  return total;
}

TEST(Unicode, NormalForms_AreThoseOfTheNormalizers) {
  const std::vector<std::pair<const char*, NormalizerStep>> forms = {{"NFC", NormalizationForm::kNfc},
                                                                     {"NFD", NormalizationForm::kNfd},
                                                                     {"NFKC", NormalizationForm::kNfkc},
                                                                     {"NFKD", NormalizationForm::kNfkd},
                                                                     {"Lowercase", LowercaseStep{}}};
  for (const auto& [name, step] : forms) {
    EXPECT_EQ(checksum(step), tables()["checksums"][name].get<std::uint64_t>()) << name;
  }
}

}  // namespace
}  // namespace dslad::worker
