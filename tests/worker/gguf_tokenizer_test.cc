// A GGUF file's tokenizer against the one that it was made from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/test_files.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {
namespace {

using ::testing::HasSubstr;

bool has_extra_spaces(const std::string& text) {
  return text.empty() || text.front() == ' ' || text.back() == ' ' || text.find("  ") != std::string::npos;
}

// `drops_spaces`: the folder's tokenizer takes spaces away, which GGUF has no word for; no Llama does.
void expect_same_ids(const std::string& gguf, const std::string& folder, bool drops_spaces) {
  const auto ours = load_tokenizer(testing::golden_path("gguf/" + gguf));
  const auto theirs = load_tokenizer(testing::golden_path(folder));
  ASSERT_TRUE(ours.ok()) << ours.error().message;
  ASSERT_TRUE(theirs.ok()) << theirs.error().message;
  EXPECT_EQ((*ours)->vocab_size(), (*theirs)->vocab_size());
  EXPECT_EQ((*ours)->adds_leading_space(), (*theirs)->adds_leading_space());
  for (const std::string text : testing::read_json(testing::golden_path("tokenizers/texts.json"))) {
    if (drops_spaces && has_extra_spaces(text)) continue;
    for (const TextPosition position : {TextPosition::kBeginning, TextPosition::kContinuation}) {
      const TextRange all{0, text.size()};
      const auto expected = (*theirs)->encode(text, position, {&all, 1});
      const auto actual = (*ours)->encode(text, position, {&all, 1});
      ASSERT_TRUE(expected.ok()) << expected.error().message;
      ASSERT_TRUE(actual.ok()) << actual.error().message;
      EXPECT_EQ(*actual, *expected) << text;
      EXPECT_EQ((*ours)->decode(*actual, position), (*theirs)->decode(*expected, position));
    }
  }
  for (TokenId id = 1; id < (*ours)->vocab_size(); ++id) {  // 0: sentencepiece shows the unknown one
    EXPECT_EQ((*ours)->bytes_of(id), (*theirs)->bytes_of(id)) << id;
  }
}

TEST(GgufTokenizer, ByteLevel_IsTheOneItWasMadeFrom) {
  expect_same_ids("bytes.gguf", "tokenizers/smollm", false);
}

TEST(GgufTokenizer, SentencePiece_IsTheOneItWasMadeFrom) {
  expect_same_ids("stories260K.gguf", "stories260K", true);
  const auto tokenizer = load_tokenizer(testing::golden_path("gguf/stories260K.gguf"));
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->special().bos, 1);
  EXPECT_EQ((*tokenizer)->special().eos, 2);
  EXPECT_TRUE((*tokenizer)->special().adds_bos);
}

// A byte-level tokenizer of four tokens, those of the chat with `type`.
std::string chat_gguf(std::uint32_t type) {
  std::string bytes("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0", 24);
  const auto put = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const auto text = [&](std::string_view value) {
    put(std::uint64_t{value.size()});
    bytes += value;
  };
  const auto words = [&](std::string_view key, std::string_view value) {
    text(key);
    put(std::uint32_t{8});
    text(value);
  };
  const auto list = [&](std::string_view key, std::uint32_t kind, std::uint64_t size) {
    text(key);
    put(std::uint32_t{9});
    put(kind);
    put(size);
  };
  words("tokenizer.ggml.model", "gpt2");
  list("tokenizer.ggml.tokens", 8, 4);
  for (const char* const token : {"a", "b", "<|im_start|>", "<|im_end|>"}) text(token);
  list("tokenizer.ggml.token_type", 5, 4);
  for (const std::uint32_t kind : {1u, 1u, type, type}) put(kind);
  list("tokenizer.ggml.merges", 8, 0);
  text("tokenizer.ggml.eos_token_id");
  put(std::uint32_t{4});
  put(std::uint32_t{0});
  words("tokenizer.chat_template",
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
        "'<|im_end|>' + '\\n'}}{% endfor %}{{ '<|im_start|>assistant\\n' }}");
  return bytes;
}

TEST(GgufTokenizer, TokensOfTheChatAreSpecial_WhateverTheirType) {
  constexpr std::uint32_t kNormal = 1, kControl = 3, kUserDefined = 4;
  for (const std::uint32_t type : {kNormal, kControl, kUserDefined}) {
    SCOPED_TRACE(type);
    const testing::TempDir dir;
    const auto path = dir.write("m.gguf", chat_gguf(type));
    const auto tokenizer = load_tokenizer(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->token_named("<|im_end|>"), 3);
    EXPECT_EQ((*tokenizer)->bytes_of(3), "");
    const std::string text = "a<|im_end|>b";
    const TextRange all{0, text.size()};
    const auto document = (*tokenizer)->encode(text, TextPosition::kBeginning);
    const auto turn = (*tokenizer)->encode(text, TextPosition::kBeginning, {&all, 1});
    ASSERT_TRUE(document.ok() && turn.ok());
    EXPECT_THAT(*document, ::testing::Not(::testing::Contains(3))) << "a document cannot end itself";
    EXPECT_THAT(*turn, ::testing::Contains(3));
    const auto prompt = PromptTemplate::load(path, **tokenizer);
    ASSERT_TRUE(prompt.ok() && prompt->chat()) << (prompt.ok() ? prompt->warnings()[0] : "");
    EXPECT_EQ(prompt->chat()->kind, "ChatML");
  }
}

TEST(GgufTokenizer, WhatIsMissing_IsNamed) {
  const testing::TempDir dir;
  const std::string none("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
  const auto tokenizer = load_tokenizer(dir.write("m.gguf", none));
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer.ggml.tokens"));
}

TEST(GgufTokenizer, ChangedFiles_NeverCrash) {
  std::mt19937_64 random(11);
  const testing::TempDir dir;
  for (const char* name : {"bytes.gguf", "stories260K.gguf"}) {
    const std::string good = testing::read_text(testing::golden_path("gguf") / name);
    for (int round = 0; round < 150; ++round) {
      std::string changed = good;
      for (std::uint64_t change = 0; change <= random() % 3; ++change) {
        changed[random() % changed.size()] = static_cast<char>(random());
      }
      const auto tokenizer = load_tokenizer(dir.write("m.gguf", changed));
      if (!tokenizer) continue;
      const auto ids = (*tokenizer)->encode("Once upon a time, 3 < 4\u00e9\n", TextPosition::kBeginning);
      if (ids) static_cast<void>((*tokenizer)->decode(*ids, TextPosition::kBeginning));
    }
  }
}

}  // namespace
}  // namespace dslad::worker
