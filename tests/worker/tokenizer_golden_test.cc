// Published tokenizer vectors over real vocabularies, and the sentencepiece tokenizers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "tests/sanitized.h"
#include "tests/worker/llama3_files.h"
#include "tests/worker/test_files.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr std::string_view kSeparator = "\n__ggml_vocab_test__\n";

std::vector<std::string> inputs(const std::string& name) {
  const std::string all =
      testing::read_text(testing::data_path("tokenizers/golden/ggml-vocab-" + name + ".gguf.inp"));
  std::vector<std::string> texts;
  for (std::size_t at = 0, end = 0; (end = all.find(kSeparator, at)) != std::string::npos;
       at = end + kSeparator.size()) {
    texts.push_back(all.substr(at, end - at));
  }
  return texts;
}

std::vector<std::vector<TokenId>> outputs(const std::string& name) {
  std::ifstream file(testing::data_path("tokenizers/golden/ggml-vocab-" + name + ".gguf.out"));
  std::vector<std::vector<TokenId>> lines;
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line);
    lines.emplace_back(std::istream_iterator<TokenId>(numbers), std::istream_iterator<TokenId>());
  }
  return lines;
}

void expect_published_ids(const std::string& name, const Tokenizer& tokenizer) {
  const auto texts = inputs(name);
  const auto expected = outputs(name);
  ASSERT_EQ(texts.size(), expected.size());
  ASSERT_GT(texts.size(), 40u);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto ids = tokenizer.encode(texts[i], TextPosition::kBeginning);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, expected[i]) << texts[i];
    EXPECT_EQ(tokenizer.decode(*ids, TextPosition::kBeginning), texts[i]);
  }
}

TEST(TokenizerGolden, Llama2) {
  const auto folder = testing::data_path("tokenizers/llama2");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  const auto tokenizer = load_tokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->vocab_size(), 32000);
  expect_published_ids("llama-spm", **tokenizer);
  for (const std::string text : {"Lily", " Lily", "  Lily", "\n Lily"}) {
    const auto ids = (*tokenizer)->encode(text, TextPosition::kContinuation);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ((*tokenizer)->decode(*ids, TextPosition::kContinuation), text);
  }
}

TEST(TokenizerGolden, Gpt2_FromVocabAndMerges) {
  const auto folder = testing::data_path("tokenizers/gpt2");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  const testing::TempDir dir;
  std::filesystem::copy_file(folder / "gpt2_vocab.json", dir.path() / "vocab.json");
  std::filesystem::copy_file(folder / "gpt2_merges.txt", dir.path() / "merges.txt");
  dir.write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>"})");
  const auto tokenizer = load_tokenizer(dir.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->special().eos, 50256);
  EXPECT_EQ((*tokenizer)->bytes_of(50256), "");
  expect_published_ids("gpt-2", **tokenizer);
}

TEST(TokenizerGolden, Llama3_FromItsRanks) {
  const auto ranks = testing::data_path("tokenizers/llama3/tokenizer.model");
  if (!std::filesystem::exists(ranks)) GTEST_SKIP() << "skipped: no data";
  if (dslad::testing::kSanitized)
    GTEST_SKIP() << "skipped: a minute for the code that GPT-2's smaller table runs, too";
  const testing::TempDir dir;
  dir.write("tokenizer.json", testing::llama3_tokenizer_json(ranks).dump());
  const auto tokenizer = load_tokenizer(dir.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->vocab_size(), 128000);
  expect_published_ids("llama-bpe", **tokenizer);
}

TEST(TokenizerGolden, VocabulariesInGguf) {
  int found = 0;
  for (const std::string name : {"gpt-2", "llama-spm", "phi-3", "refact", "starcoder"}) {
    SCOPED_TRACE(name);
    const auto path = testing::data_path("tokenizers/golden/ggml-vocab-" + name + ".gguf");
    if (!std::filesystem::exists(path)) continue;
    ++found;
    const auto tokenizer = load_tokenizer(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    expect_published_ids(name, **tokenizer);
  }
  if (found == 0) GTEST_SKIP() << "skipped: no data";
}

// BART has RoBERTa's vocabulary.
TEST(TokenizerGolden, Roberta_FromBart) {
  const auto folder = testing::data_path("tokenizers/bart/para");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  const auto tokenizer = load_tokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_published_ids("roberta-bpe", **tokenizer);
}

// Merging by scores, here, against libsentencepiece.
TEST(TokenizerGolden, Llama2FromGguf_IsAsTheLibraryHasIt) {
  const auto path = testing::data_path("tokenizers/golden/ggml-vocab-llama-spm.gguf");
  const auto folder = testing::data_path("tokenizers/llama2");
  if (!std::filesystem::exists(path) || !std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  const auto ours = load_tokenizer(path);
  const auto library = load_tokenizer(folder);
  ASSERT_TRUE(ours.ok() && library.ok());
  for (const char* file : {"texts.json", "hard_texts.json"}) {
    for (const std::string text : testing::read_json(testing::golden_path("tokenizers") / file)) {
      for (const TextPosition position : {TextPosition::kBeginning, TextPosition::kContinuation}) {
        EXPECT_EQ(*(*ours)->encode(text, position), *(*library)->encode(text, position)) << text;
      }
    }
  }
}

std::unique_ptr<Tokenizer> stories() {
  auto tokenizer = load_tokenizer(testing::golden_path("stories260K"));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TEST(SentencePiece, GreedyIds_DecodeToThePublishedText) {
  for (const char* name : {"stories260K", "babyllama"}) {
    const json golden = testing::read_json(testing::golden_path(name) / "golden.json");
    const auto tokenizer = load_tokenizer(testing::golden_path(name));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const auto ids = golden["greedy_ids"].get<std::vector<TokenId>>();
    auto text = golden["greedy_text"].get<std::string>();
    EXPECT_EQ((*tokenizer)->decode(ids, TextPosition::kBeginning), text);
    EXPECT_EQ((*tokenizer)->decode(ids, TextPosition::kContinuation), text.insert(0, 1, ' '));
  }
}

TEST(SentencePiece, SpecialTokens_AreTheModels) {
  const auto tokenizer = stories();
  EXPECT_EQ(tokenizer->special().bos, 1);
  EXPECT_EQ(tokenizer->special().eos, 2);
  EXPECT_TRUE(tokenizer->special().adds_bos);
  EXPECT_EQ(tokenizer->bytes_of(1), "");
  EXPECT_EQ(tokenizer->bytes_of(-1), "");
  EXPECT_EQ(tokenizer->bytes_of(tokenizer->vocab_size()), "");
  EXPECT_EQ(tokenizer->bytes_of(3 + 0x41), "A");  // a byte piece
}

TEST(SentencePiece, Settings_CanTurnBosOff) {
  const testing::TempDir dir;
  std::filesystem::copy_file(testing::golden_path("stories260K/tokenizer.model"),
                             dir.path() / "tokenizer.model");
  dir.write("tokenizer_config.json", R"({"add_bos_token": false})");
  const auto tokenizer = load_tokenizer(dir.path());
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_FALSE((*tokenizer)->special().adds_bos);
}

TEST(SentencePiece, Continuation_GetsNoSpaceOfItsOwn) {
  const auto tokenizer = stories();
  const auto text = [&](std::string_view part, TextPosition position) {
    return tokenizer->decode(*tokenizer->encode(part, position), TextPosition::kContinuation);
  };
  EXPECT_EQ(text("Lily", TextPosition::kBeginning), " Lily");
  EXPECT_EQ(text("Lily", TextPosition::kContinuation), "Lily");
  EXPECT_EQ(text(" Lily", TextPosition::kContinuation), " Lily");
  EXPECT_EQ(text("\nLily", TextPosition::kContinuation), "\nLily");
}

TEST(SentencePiece, TextsOutsideTheVocabulary_RoundTripByBytes) {
  const auto tokenizer = stories();
  for (const std::string text : {"日本語 🙂", "tab\tand\r\nlines", "naïve", ""}) {
    const auto ids = tokenizer->encode(text, TextPosition::kBeginning);
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(tokenizer->decode(*ids, TextPosition::kBeginning), text);
  }
}

TEST(SentencePiece, ControlNames_AreTokensOnlyWhereAllowed) {
  const auto tokenizer = stories();
  EXPECT_THAT(*tokenizer->encode("a</s>b", TextPosition::kBeginning), ::testing::Not(::testing::Contains(2)));
  const std::vector<TextRange> all = {{0, 6}};
  EXPECT_THAT(*tokenizer->encode("a</s>b", TextPosition::kBeginning, all), ::testing::Contains(2));
}

// A folder with the small model and what a fine-tune adds to it.
std::unique_ptr<Tokenizer> chat_tokenizer(const char* file, const std::string& content,
                                          const std::string& settings = "{}") {
  const testing::TempDir dir;
  std::filesystem::copy_file(testing::golden_path("stories260K/tokenizer.model"),
                             dir.path() / "tokenizer.model");
  dir.write("tokenizer_config.json", settings);
  dir.write(file, content);
  auto tokenizer = load_tokenizer(dir.path());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TEST(SentencePiece, AddedTokens_ComeBehindThePieces) {
  const TokenId pieces = stories()->vocab_size();
  const json decoder = {{"added_tokens_decoder",
                         {{std::to_string(pieces), {{"content", "<|im_start|>"}, {"special", true}}},
                          {std::to_string(pieces + 2), {{"content", "<call>"}, {"special", false}}}}},
                        {"eos_token", "<|im_start|>"}};
  const json list = {{"model", {{"type", "Unigram"}}},
                     {"added_tokens",
                      {{{"id", pieces}, {"content", "<|im_start|>"}, {"special", true}},
                       {{"id", pieces + 2}, {"content", "<call>"}, {"special", false}}}}};
  const json names = {{"<|im_start|>", pieces}};
  const std::string text = "<|im_start|>a<call>";
  const std::vector<TextRange> all = {{0, text.size()}};
  for (const auto& tokenizer :
       {chat_tokenizer("tokenizer_config.json", decoder.dump()),
        chat_tokenizer("tokenizer.json", list.dump(), R"({"eos_token": "<|im_start|>"})")}) {
    EXPECT_EQ(tokenizer->vocab_size(), pieces + 3);
    EXPECT_EQ(tokenizer->special().eos, pieces);
    const auto ids = *tokenizer->encode(text, TextPosition::kContinuation, all);
    EXPECT_EQ(ids.front(), pieces);
    EXPECT_EQ(ids.back(), pieces + 2);
    EXPECT_EQ(tokenizer->decode(ids, TextPosition::kContinuation), "a<call>");
    EXPECT_THAT(*tokenizer->encode(text, TextPosition::kContinuation),
                ::testing::Not(::testing::Contains(pieces)));  // special, and not the template's
  }
  const auto older = chat_tokenizer("added_tokens.json", names.dump());
  EXPECT_EQ(older->encode(text, TextPosition::kContinuation, all)->front(), pieces);
}

TEST(SentencePiece, AddedTokens_ThatMakeNoSense_AreNamed) {
  for (const char* bad : {R"({"added_tokens_decoder": {"x": {"content": "a"}}})",
                          R"({"added_tokens_decoder": {"99999999": {"content": "a"}}})",
                          R"({"added_tokens_decoder": {"600": 3}})", R"({"added_tokens_decoder": []})",
                          R"({"added_tokens_decoder": {"600": {"content": "a", "lstrip": 1}}})"}) {
    const testing::TempDir dir;
    std::filesystem::copy_file(testing::golden_path("stories260K/tokenizer.model"),
                               dir.path() / "tokenizer.model");
    dir.write("tokenizer_config.json", bad);
    const auto tokenizer = load_tokenizer(dir.path());
    ASSERT_FALSE(tokenizer.ok()) << bad;
    EXPECT_THAT(tokenizer.error().message, HasSubstr("added_tokens_decoder")) << bad;
  }
  for (const auto& [file, bad] :
       {std::pair("added_tokens.json", "[]"),
        {"added_tokens.json", R"({"a": -1})"},
        {"added_tokens.json", R"({"a": "b"})"},
        {"tokenizer.json", R"({"model": {}, "added_tokens": 3})"},
        {"tokenizer.json", R"({"model": {}, "added_tokens": [{"content": "a"}]})"}}) {
    const testing::TempDir dir;
    std::filesystem::copy_file(testing::golden_path("stories260K/tokenizer.model"),
                               dir.path() / "tokenizer.model");
    dir.write(file, bad);
    const auto tokenizer = load_tokenizer(dir.path());
    ASSERT_FALSE(tokenizer.ok()) << bad;
    EXPECT_THAT(tokenizer.error().message, HasSubstr((dir.path() / file).string())) << bad;
  }
}

TEST(SentencePiece, HeadAndTail_DecodeToTheWholePrompt) {
  const auto tokenizer = stories();
  const auto prompt = PromptTemplate::parse("", "none");
  ASSERT_TRUE(prompt.ok());
  const PromptText text = prompt->qa("Lily saw a ball.", "What did she see?");
  auto ids = *encode_head(*tokenizer, text);
  EXPECT_EQ(ids.front(), 1);
  const auto tail = *encode_tail(*tokenizer, text);
  ids.insert(ids.end(), tail.begin(), tail.end());
  EXPECT_EQ(tokenizer->decode(ids, TextPosition::kBeginning),
            "Lily saw a ball.\n\nQuestion: What did she see?\nAnswer:");
}

TEST(SentencePiece, MalformedUtf8_IsNamedByOffset) {
  const auto ids = stories()->encode("ab\xFF", TextPosition::kBeginning);
  ASSERT_FALSE(ids.ok());
  EXPECT_THAT(ids.error().message, HasSubstr("offset 2"));
}

TEST(SentencePiece, BesideAJsonThatIsNotImplemented_TheModelIsRead) {
  for (const auto& [json_text, named] :
       {std::pair(R"({"model": {"type": "Unigram", "vocab": []}})", "Unigram"),
        {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Nmt"}})",
         "Nmt"}}) {
    const testing::TempDir dir;
    dir.write("tokenizer.json", json_text);
    const auto alone = load_tokenizer(dir.path());
    ASSERT_FALSE(alone.ok());
    EXPECT_THAT(alone.error().message, HasSubstr(named));
    std::filesystem::copy_file(testing::golden_path("stories260K/tokenizer.model"),
                               dir.path() / "tokenizer.model");
    EXPECT_TRUE(load_tokenizer(dir.path()).ok());
  }
}

TEST(SentencePiece, FolderWithoutATokenizer_IsNamed) {
  const testing::TempDir dir;
  const auto tokenizer = load_tokenizer(dir.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(tokenizer.error().message, HasSubstr(dir.path().string()));
}

TEST(SentencePieceFuzz, MutatedModels_LoadOrAreRefusedNeverACrash) {
  const std::string model = testing::read_text(testing::golden_path("stories260K/tokenizer.model"));
  const testing::TempDir dir;
  std::mt19937_64 random(6);
  int refusals = 0;
  for (int round = 0; round < 500; ++round) {
    dir.write("tokenizer.model", testing::mutate(model, random));
    const auto tokenizer = load_tokenizer(dir.path());
    if (!tokenizer.ok()) {
      ++refusals;
      continue;
    }
    const auto ids = (*tokenizer)->encode("Once upon a time 🙂", TextPosition::kBeginning);
    if (ids.ok()) static_cast<void>((*tokenizer)->decode(*ids, TextPosition::kBeginning));
  }
  EXPECT_GT(refusals, 50);
}

}  // namespace
}  // namespace dslad::worker
