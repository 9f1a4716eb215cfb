#include "worker/text/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "tests/worker/fake_tokenizer.h"
#include "tests/worker/test_files.h"

namespace dslad::worker {
namespace {

using ::testing::ElementsAre;
using testing::FakeTokenizer;
using ::testing::HasSubstr;

PromptTemplate parsed(std::string_view toml) {
  auto result = PromptTemplate::parse(toml, "dslad.toml");
  EXPECT_TRUE(result.ok()) << result.error().message;
  return *std::move(result);
}

Error refused(std::string_view toml) {
  const auto result = PromptTemplate::parse(toml, "dslad.toml");
  EXPECT_FALSE(result.ok()) << toml;
  return result.ok() ? Error{} : result.error();
}

TEST(Prompt, WithoutAFile_TheDefaultHasAllTasks) {
  const testing::TempDir dir;
  const auto prompt = PromptTemplate::load(dir.path(), FakeTokenizer(std::vector<std::string>(256)));
  ASSERT_TRUE(prompt.ok());
  EXPECT_FALSE(prompt->bos().has_value());
  EXPECT_TRUE(prompt->stop().empty());
  EXPECT_EQ(prompt->summarize("D").head.text, "D");
  EXPECT_EQ(prompt->summarize("D").tail.text, "\n\nSummary:");
  EXPECT_EQ(prompt->qa("D", "Q").tail.text, "\n\nQuestion: Q\nAnswer:");
  EXPECT_EQ(prompt->generate("P").head.text, "P");
  EXPECT_EQ(prompt->generate("P").tail.text, "");
}

TEST(Prompt, FileInTheModelFolder_IsRead) {
  const testing::TempDir dir;
  dir.write(
      "dslad.toml",
      "[prompt]\nbos = false\nsummarize = \"Text: {document} In short:\"\nstop = [\"\\n\\n\", \"END\"]\n");
  const auto prompt = PromptTemplate::load(dir.path(), FakeTokenizer(std::vector<std::string>(256)));
  ASSERT_TRUE(prompt.ok()) << prompt.error().message;
  EXPECT_EQ(prompt->bos(), false);
  EXPECT_THAT(prompt->stop(), ElementsAre("\n\n", "END"));
  EXPECT_EQ(prompt->summarize("D").head.text, "Text: D");
  EXPECT_EQ(prompt->summarize("D").tail.text, " In short:");
  EXPECT_EQ(prompt->qa("D", "Q").tail.text, "\n\nQuestion: Q\nAnswer:");  // not in the file: the default
}

TEST(Prompt, HeadDoesNotDependOnTheQuestion) {
  const PromptTemplate prompt = parsed("[prompt]\nqa = \"<d>{document}</d> {question}?\"");
  EXPECT_EQ(prompt.qa("D", "one").head.text, prompt.qa("D", "another").head.text);
  EXPECT_EQ(prompt.qa("D", "one").tail.text, "</d> one?");
}

TEST(Prompt, PlaceholdersInsideValues_AreText) {
  const PromptTemplate prompt = parsed("");
  const PromptText text = prompt.qa("see {question} and {document}", "what is {document}?");
  EXPECT_EQ(text.head.text, "see {question} and {document}");
  EXPECT_EQ(text.tail.text, "\n\nQuestion: what is {document}?\nAnswer:");
}

TEST(Prompt, OtherBraces_AreText) {
  const PromptTemplate prompt = parsed(R"(prompt.summarize = '{"a": {}} {document} { x }')");
  EXPECT_EQ(prompt.summarize("D").head.text, R"({"a": {}} D)");
  EXPECT_EQ(prompt.summarize("D").tail.text, " { x }");
}

TEST(Prompt, OnlyTheTemplatesText_MayNameSpecialTokens) {
  const PromptTemplate prompt = parsed("[prompt]\nqa = \"<a>{document}<b>{question}<c>\"");
  const PromptText text = prompt.qa("<x>", "<y>");
  const auto named = [](const PromptPiece& piece) {
    std::vector<std::string> parts;
    for (const TextRange& range : piece.from_template) {
      parts.push_back(piece.text.substr(range.begin, range.end - range.begin));
    }
    return parts;
  };
  EXPECT_THAT(named(text.head), ElementsAre("<a>"));
  EXPECT_THAT(named(text.tail), ElementsAre("<b>", "<c>"));
}

TEST(Prompt, Mistakes_NameFileKeyAndRemedy) {
  EXPECT_THAT(refused("[prompt]\nsummarise = \"{document}\"").message,
              HasSubstr("did you mean \"summarize\"?"));
  EXPECT_THAT(refused("[promt]\nbos = true").message, HasSubstr("did you mean \"prompt\"?"));
  EXPECT_THAT(refused("[prompt]\nsummarize = \"Summary:\"").message, HasSubstr("summarize lacks {document}"));
  EXPECT_THAT(refused("[prompt]\nqa = \"{document}\"").message, HasSubstr("qa lacks {question}"));
  EXPECT_THAT(refused("[prompt]\nqa = \"{question} {document}\"").message,
              HasSubstr("{document} before {question}"));
  EXPECT_THAT(refused("[prompt]\nsummarize = \"{document} {document}\"").message, HasSubstr("once"));
  EXPECT_THAT(refused("[prompt]\nqa = \"{document} {questoin}\"").message,
              HasSubstr("did you mean {question}?"));
  EXPECT_THAT(refused("[prompt]\nsummarize = \"{document} {question}\"").message, HasSubstr("{question}"));
  EXPECT_THAT(refused("[prompt]\nbos = \"yes\"").message, HasSubstr("bos must be true or false"));
  EXPECT_THAT(refused("[prompt]\nqa = 3").message, HasSubstr("qa must be a string"));
  EXPECT_THAT(refused("[prompt]\nstop = \"x\"").message, HasSubstr("stop must be a list"));
  EXPECT_THAT(refused("[prompt]\nstop = [\"\"]").message, HasSubstr("stop must be a list"));
  EXPECT_THAT(refused("prompt = 1").message, HasSubstr("[prompt]"));
  const Error malformed = refused("[prompt]\nbos = = true");
  EXPECT_EQ(malformed.code, ErrorCode::kCorrupt);
  EXPECT_THAT(malformed.message, HasSubstr("line 2"));
}

TEST(EncodePrompt, BosOnce_ThenHeadThenTail) {
  FakeTokenizer tokenizer(std::vector<std::string>(256));
  tokenizer.special_tokens.bos = 200;
  const PromptTemplate prompt = parsed("[prompt]\nbos = true\nsummarize = \"{document}!\"");
  const PromptText text = prompt.summarize("ab");
  const auto head = encode_head(tokenizer, text);
  ASSERT_TRUE(head.ok());
  EXPECT_THAT(*head, ElementsAre(200, 'a', 'b'));
  EXPECT_EQ(tokenizer.last_position, TextPosition::kBeginning);
  const auto tail = encode_tail(tokenizer, text);
  ASSERT_TRUE(tail.ok());
  EXPECT_THAT(*tail, ElementsAre('!'));
  EXPECT_EQ(tokenizer.last_position, TextPosition::kContinuation);
  EXPECT_EQ(tokenizer.last_ranges.size(), 1u);
}

TEST(EncodePrompt, BosThatTheTemplateNames_IsTheOnlyOne) {
  FakeTokenizer tokenizer(std::vector<std::string>(256));
  tokenizer.special_tokens.bos = '^';
  tokenizer.special_tokens.adds_bos = true;
  const PromptTemplate prompt = parsed("[prompt]\ngenerate = \"^{prompt}\"\nsummarize = \"{document}\"");
  EXPECT_THAT(*encode_head(tokenizer, prompt.generate("a")), ElementsAre('^', 'a'));
  EXPECT_THAT(*encode_head(tokenizer, prompt.summarize("^a")), ElementsAre('^', '^', 'a'))
      << "a document's is text";
}

TEST(Prompt, StopTextsWithNamesOfSpecialTokens_CountOrAreWarnedOf) {
  FakeTokenizer tokenizer(std::vector<std::string>(256));
  tokenizer.names[200] = "<end>";
  tokenizer.names['#'] = "#";
  PromptSources sources;
  sources.settings = "[prompt]\nstop = [\"<end>\", \"a#\", \"b\"]";
  const auto prompt = PromptTemplate::create(sources, tokenizer);
  ASSERT_TRUE(prompt.ok()) << prompt.error().message;
  ASSERT_EQ(prompt->ends().size(), 1u);
  EXPECT_EQ(prompt->ends()[0].id, 200);
  EXPECT_THAT(prompt->stop(), ElementsAre("a#", "b"));
  ASSERT_EQ(prompt->warnings().size(), 1u);
  EXPECT_THAT(prompt->warnings()[0], HasSubstr("\"a#\""));
}

TEST(EncodePrompt, WithoutBosInTheFile_TheTokenizerDecides) {
  FakeTokenizer tokenizer(std::vector<std::string>(256));
  tokenizer.special_tokens.bos = 200;
  const PromptTemplate prompt = parsed("");
  EXPECT_THAT(*encode_head(tokenizer, prompt.generate("a")), ElementsAre('a'));
  tokenizer.special_tokens.adds_bos = true;
  EXPECT_THAT(*encode_head(tokenizer, prompt.generate("a")), ElementsAre(200, 'a'));
}

TEST(EncodePrompt, BosThatNobodyDefines_IsAnError) {
  const FakeTokenizer tokenizer(std::vector<std::string>(256));
  const PromptTemplate prompt = parsed("[prompt]\nbos = true");
  const auto head = encode_head(tokenizer, prompt.generate("a"));
  ASSERT_FALSE(head.ok());
  EXPECT_THAT(head.error().message, HasSubstr("bos"));
}

TEST(EncodePrompt, TextAfterNothing_IsABeginning) {
  const PromptTemplate prompt = parsed("");
  EXPECT_EQ(position_after(prompt.generate("")), TextPosition::kBeginning);
  EXPECT_EQ(position_after(prompt.generate("x")), TextPosition::kContinuation);
  EXPECT_EQ(position_after(prompt.summarize("")), TextPosition::kContinuation);
}

TEST(PromptFuzz, MutatedToml_IsReadOrRefusedNeverACrash) {
  std::mt19937_64 random(3);
  const std::string text =
      "[prompt]\nbos = true\nsummarize = \"{document}\\n\\nSummary:\"\nqa = '{document} {question}'\nstop = "
      "[\"a\"]\n";
  int refusals = 0;
  for (int round = 0; round < 5000; ++round) {
    const auto result = PromptTemplate::parse(testing::mutate(text, random), "dslad.toml");
    if (!result.ok()) ++refusals;
  }
  EXPECT_GT(refusals, 1000);
}

}  // namespace
}  // namespace dslad::worker
