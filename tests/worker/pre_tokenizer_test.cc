// Patterns that are refused, and pre-tokenizers by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/worker/test_files.h"
#include "worker/text/named_pre_tokenizer.h"
#include "worker/text/pipeline_json.h"
#include "worker/text/regex.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// To PCRE2 each of these means something else than to Oniguruma, or nothing.
TEST(Pattern, WhatIsNotImplemented_IsRefusedByName) {
  for (const auto& [pattern, named] : {std::pair("[[:alpha:]]", "[[:name:]]"),
                                       {"[a[bc]]", "[ within [...]"},
                                       {"[a-z&&[^x]]", "&&"},
                                       {"\\p{N}{1,3}+", "{...}+"},
                                       {"a{2}?", "{n}?"},
                                       {"(?x)a", "(?x"},
                                       {"(?~a)", "(?~"},
                                       {"\\g<a>", "\\g"},
                                       {"a\\Kb", "\\K"},
                                       {"\\X", "\\X"},
                                       {"\\pL", "\\pL"},
                                       {"[\\b]", "\\b"},
                                       {"[^\\W]", "\\W"},
                                       {"\\xC3", "\\xC3"},
                                       {"\\u12", "\\u"}}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_EQ(regex.error().code, ErrorCode::kInvalidArgument) << pattern;
    EXPECT_THAT(regex.error().message, HasSubstr(pattern));
    EXPECT_THAT(regex.error().message, HasSubstr(std::string("\"") + named)) << pattern;
  }
}

TEST(Pattern, MalformedOnes_AreNamed) {
  for (const char* pattern : {"(unclosed", "[a", "a**+*", "\\p{Nonsense}", "\\", "\\x{", "(?<a", "\\p{L"}) {
    const auto regex = Regex::compile(pattern);
    ASSERT_FALSE(regex.ok()) << pattern;
    EXPECT_THAT(regex.error().message, HasSubstr(pattern));
  }
}

TEST(PatternFuzz, RandomPatterns_CompileOrAreRefused) {
  std::mt19937_64 random(3);
  constexpr std::string_view kParts = "\\\\\\pPsSdwbhukxgK{}[]()?<>=!:^|+*,.-&imL1az~#\x01";
  for (int round = 0; round < 20'000; ++round) {
    std::string pattern(random() % 12, ' ');
    for (char& part : pattern) part = kParts[random() % kParts.size()];
    const auto regex = Regex::compile(pattern);
    if (!regex.ok()) continue;
    std::vector<TextRange> matches;
    const std::string text = "a1 \u00e9L\n#";
    if (!Regex::Search(*regex).find_all(text, matches).ok()) continue;
    for (const TextRange& match : matches) {
      ASSERT_LE(match.begin, match.end) << pattern;
      ASSERT_LE(match.end, text.size()) << pattern;
    }
  }
}

std::vector<std::string> words(const PreTokenizer& pre_tokenizer, std::string_view text) {
  const auto split = pre_tokenizer.split(text, TextPlace::kFirst);
  EXPECT_TRUE(split.ok());
  return split.ok() ? std::vector<std::string>(split->list.begin(), split->list.end())
                    : std::vector<std::string>{};
}

TEST(NamedPreTokenizer, CutsAsTheTokenizerFileOfItsKind) {
  const json texts = testing::read_json(testing::golden_path("tokenizers/hard_texts.json"));
  for (const auto& [name, folder] : {std::pair("gpt-2", "gpt2"),
                                     {"llama-bpe", "llama3"},
                                     {"qwen2", "qwen2"},
                                     {"smollm", "smollm"},
                                     {"deepseek-coder", "deepseek_coder"},
                                     {"falcon", "falcon"},
                                     {"falcon3", "llama3"},
                                     {"minerva-7b", "smollm"},
                                     {"trillion", "gpt2"},
                                     {"tekken", "tekken"}}) {
    const json file = testing::read_json(testing::golden_path("tokenizers") / folder / "tokenizer.json");
    const auto steps = parse_pre_tokenizer(&file["pre_tokenizer"]);
    ASSERT_TRUE(steps.ok()) << steps.error().message;
    const auto by_file = PreTokenizer::create(*steps);
    const auto named = named_pre_tokenizer(name);
    ASSERT_TRUE(named.ok()) << named.error().message;
    const auto by_name = PreTokenizer::create(named->steps);
    ASSERT_TRUE(by_file.ok() && by_name.ok());
    EXPECT_EQ(named->normalizer.empty(), file["normalizer"].is_null()) << name;
    for (const std::string text : texts) EXPECT_EQ(words(*by_name, text), words(*by_file, text)) << name;
  }
}

TEST(NamedPreTokenizer, SeedCoderKeepsEndsOfLinesApart) {
  const auto named = named_pre_tokenizer("seed-coder");
  ASSERT_TRUE(named.ok());
  const auto made = PreTokenizer::create(named->steps);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(words(*made, "f(x);\n\ny 12"),
            (std::vector<std::string>{"f", "(x", ");", "\u010A\u010A", "y", "\u0120", "1", "2"}));
}

TEST(NamedPreTokenizer, EveryNameThatIsKnown_Compiles) {
  const auto unknown = named_pre_tokenizer("nonsense");
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message, HasSubstr("\"nonsense\""));
  const std::string list = unknown.error().message.substr(unknown.error().message.find(": ") + 2);
  std::size_t count = 0;
  for (std::size_t at = 0; at < list.size(); ++count) {
    const std::size_t end = std::min(list.find(", ", at), list.size());
    const auto named = named_pre_tokenizer(list.substr(at, end - at));
    ASSERT_TRUE(named.ok()) << named.error().message;
    const auto made = PreTokenizer::create(named->steps);
    EXPECT_TRUE(made.ok()) << made.error().message;
    at = end + 2;
  }
  EXPECT_GT(count, 10u);
}

}  // namespace
}  // namespace dslad::worker
