#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/worker/test_files.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json golden_json(const std::string& name) {
  return testing::read_json(testing::golden_path("tokenizers/" + name + "/tokenizer.json"));
}

Result<std::unique_ptr<Tokenizer>> load(const json& document, const std::string& settings = "{}") {
  const testing::TempDir dir;
  dir.write("tokenizer.json", document.dump());
  dir.write("tokenizer_config.json", settings);
  return load_tokenizer(dir.path());
}

std::unique_ptr<Tokenizer> loaded(const json& document, const std::string& settings = "{}") {
  auto tokenizer = load(document, settings);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            TextPosition position = TextPosition::kBeginning) {
  auto ids = tokenizer.encode(text, position);
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  return ids.ok() ? *std::move(ids) : std::vector<TokenId>{};
}

// Compares with what the `tokenizers` package gave for every text and for random ids.
void expect_vectors(const Tokenizer& tokenizer, const json& vectors) {
  const json texts = testing::read_json(testing::golden_path("tokenizers/texts.json"));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    EXPECT_EQ(encode(tokenizer, text), vectors["ids"][i].get<std::vector<TokenId>>()) << text;
  }
  for (std::size_t i = 0; i < vectors["random_ids"].size(); ++i) {
    const auto ids = vectors["random_ids"][i].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids, TextPosition::kContinuation),
              vectors["random_texts"][i].get<std::string>());
  }
}

TEST(BpeTokenizer, EncodesAsBart) {
  const auto folder = testing::data_path("tokenizers/bart/para");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "skipped: no data";
  const auto tokenizer = load_tokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_vectors(**tokenizer, testing::read_json(testing::golden_path("tokenizers/bart.json")));
}

TEST(BpeTokenizer, EveryText_RoundTrips) {
  const auto tokenizer = loaded(golden_json("llama3"));
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 50; ++i) {
      const auto character = static_cast<char32_t>(random() % (round % 2 == 0 ? 0x250 : 0xD800));
      text += static_cast<char>(random() % 96 + 32);
      if (character >= 0x800) {
        text += static_cast<char>(0xE0 | (character >> 12));
        text += static_cast<char>(0x80 | ((character >> 6) & 0x3F));
        text += static_cast<char>(0x80 | (character & 0x3F));
      } else if (character >= 0x80) {
        text += static_cast<char>(0xC0 | (character >> 6));
        text += static_cast<char>(0x80 | (character & 0x3F));
      }
    }
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text), TextPosition::kBeginning), text);
  }
}

TEST(BpeTokenizer, IgnoreMerges_TakesWholeWords) {
  json document = golden_json("llama3");
  const TokenId privacy = document["model"]["vocab"]["ĠPrivacy"];
  EXPECT_THAT(encode(*loaded(document), " Privacy"), ElementsAre(privacy));
  document["model"]["ignore_merges"] = false;
  EXPECT_GT(encode(*loaded(document), " Privacy").size(), 1u);
}

TEST(BpeTokenizer, PrefixSpace_OnlyAtTheBeginning) {
  const auto tokenizer = loaded(golden_json("prefix_space"));
  EXPECT_EQ(encode(*tokenizer, "Hello"), encode(*tokenizer, " Hello"));
  EXPECT_NE(encode(*tokenizer, "Hello", TextPosition::kContinuation), encode(*tokenizer, "Hello"));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "Hello"), TextPosition::kBeginning), "Hello");
}

TEST(BpeTokenizer, SpecialNames_AreTokensOnlyWhereAllowed) {
  const auto tokenizer = loaded(golden_json("llama3"));
  const std::string text = "a<|end|>b<|end|>";
  for (const TokenId id : encode(*tokenizer, text)) EXPECT_GT(id, 1);
  const std::vector<TextRange> ranges = {{1, 8}};
  const auto ids = tokenizer->encode(text, TextPosition::kBeginning, ranges);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), 1), 1);
  EXPECT_EQ((*ids)[1], 1);
  // A range that cuts the name does not hold it; one beyond the text is cut.
  const std::vector<TextRange> part = {{2, 8}, {9, 15}, {20, 90}};
  EXPECT_EQ(*tokenizer->encode(text, TextPosition::kBeginning, part), encode(*tokenizer, text));
}

// The normalizer moves what stands behind the places that it changes; the template's part moves with it.
TEST(BpeTokenizer, TokensOfTheChatAreSpecial_WhateverTheFileSays) {
  json document = golden_json("smollm");
  for (json& token : document["added_tokens"]) {
    token["special"] = false;
    if (token["content"] == "<|begin|>") token["content"] = "<|im_start|>";
    if (token["content"] == "<|end|>") token["content"] = "<|im_end|>";
  }
  const json chatml = {{"chat_template",
                        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
                        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
                        "{{ '<|im_start|>assistant\n' }}"}};
  const auto plain = loaded(document), chat = loaded(document, chatml.dump());
  EXPECT_EQ(plain->token_named("<|im_end|>"), std::nullopt) << "nothing says what it is for";
  const auto end = chat->token_named("<|im_end|>");
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(chat->bytes_of(*end), "");
  EXPECT_THAT(encode(*plain, "a<|im_end|>"), ::testing::Contains(*end));
  EXPECT_THAT(encode(*chat, "a<|im_end|>"), ::testing::Not(::testing::Contains(*end)));
  const auto named = loaded(document, R"({"eos_token": "<|im_end|>"})");
  EXPECT_THAT(encode(*named, "a<|im_end|>"), ::testing::Not(::testing::Contains(*end)));
}

TEST(BpeTokenizer, NormalizedSpecialNames_AreTokensOnlyWhereAllowed) {
  json document = golden_json("flags");  // with NFC and Lowercase
  for (json& token : document["added_tokens"]) {
    if (token["content"] == "<|NORMAL|>") token["content"] = "<|other|>";
  }
  const auto tokenizer = loaded(document);
  const std::string document_part = "e\u0301I\u0307\u0130<|NORMAL|>s";
  const std::string text = document_part + "<|Normal|>s" + document_part;
  const std::vector<TextRange> ranges = {{document_part.size(), document_part.size() + 11}};
  TokenId normal = -1;
  for (const json& token : document["added_tokens"]) {
    if (token["content"] == "<|NORMAL|>s") normal = token["id"];
  }
  const auto ids = tokenizer->encode(text, TextPosition::kBeginning, ranges);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::count(ids->begin(), ids->end(), normal), 1);
  const auto all =
      tokenizer->encode(text, TextPosition::kBeginning, std::vector<TextRange>{{0, text.size()}});
  EXPECT_EQ(std::count(all->begin(), all->end(), normal), 3);
  EXPECT_EQ(tokenizer->bytes_of(normal), "");
}

TEST(BpeTokenizer, SpacesAroundATemplatesToken_GoWhereItsFlagsSay) {
  const auto tokenizer = loaded(golden_json("flags_plain"));
  const auto text_of = [&](const std::string& text) {
    const std::vector<TextRange> all = {{0, text.size()}};
    return tokenizer->decode(*tokenizer->encode(text, TextPosition::kBeginning, all),
                             TextPosition::kBeginning);
  };
  EXPECT_EQ(text_of("a \n<|both|>\t b"), "ab");  // special: no text of its own
  EXPECT_EQ(text_of("a <|left|> b"), "a<|left|> b");
  EXPECT_EQ(text_of("a <|right|> b"), "a <|right|>b");
}

TEST(BpeTokenizer, SpecialTokens_HaveNoText_AddedOnesHaveTheirName) {
  const json document = golden_json("gpt2");
  const auto tokenizer = loaded(document);
  TokenId plain = -1;
  for (const json& token : document["added_tokens"]) {
    if (token["content"] == "<|plain|>") plain = token["id"];
  }
  EXPECT_EQ(tokenizer->bytes_of(0), "");
  EXPECT_EQ(tokenizer->bytes_of(plain), "<|plain|>");
  EXPECT_EQ(tokenizer->bytes_of(-1), "");
  EXPECT_EQ(tokenizer->bytes_of(tokenizer->vocab_size()), "");
}

TEST(BpeTokenizer, BosAndEos_ComeFromPostProcessorSettingsAndConfig) {
  const auto by_template = loaded(golden_json("llama3"));
  EXPECT_EQ(by_template->special().bos, 0);
  EXPECT_TRUE(by_template->special().adds_bos);

  const auto by_name =
      loaded(golden_json("gpt2"),
             R"({"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "add_bos_token": true})");
  EXPECT_EQ(by_name->special().bos, 0);
  EXPECT_EQ(by_name->special().eos, 1);
  EXPECT_TRUE(by_name->special().adds_bos);

  const testing::TempDir dir;
  dir.write("tokenizer.json", golden_json("gpt2").dump());
  dir.write("config.json", R"({"bos_token_id": 0, "eos_token_id": [1, 5]})");
  const auto by_id = load_tokenizer(dir.path());
  ASSERT_TRUE(by_id.ok());
  EXPECT_EQ((*by_id)->special().bos, 0);
  EXPECT_EQ((*by_id)->special().eos, 1);
  EXPECT_FALSE((*by_id)->special().adds_bos);
}

TEST(BpeTokenizer, NamesThatTheConfigLacks_ComeFromTheSpecialTokensMap) {
  const testing::TempDir dir;
  dir.write("tokenizer.json", golden_json("gpt2").dump());
  dir.write("tokenizer_config.json", R"({"bos_token": "<|begin|>"})");
  dir.write("special_tokens_map.json", R"({"bos_token": "<|end|>", "eos_token": {"content": "<|end|>"}})");
  const auto tokenizer = load_tokenizer(dir.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->special().bos, 0);
  EXPECT_EQ((*tokenizer)->special().eos, 1);
  EXPECT_EQ((*tokenizer)->token_named("<|end|>"), 1);
  EXPECT_EQ((*tokenizer)->name_of(1), "<|end|>");
  EXPECT_FALSE((*tokenizer)->token_named("<|plain|>")) << "that one is text";
  EXPECT_EQ((*tokenizer)->name_of(300), "");
}

TEST(BpeTokenizer, MalformedUtf8_IsNamedByOffset) {
  const auto ids = loaded(golden_json("gpt2"))->encode("abc\xC3(", TextPosition::kBeginning);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(ids.error().message, HasSubstr("offset 3"));
}

// As Hugging Face's: it has nowhere to put what it has no token for.
TEST(BpeTokenizer, ByteWithoutAToken_IsLeftOutUnlessThereIsAnUnknown) {
  json document = golden_json("gpt2");
  const TokenId a = document["model"]["vocab"]["a"];
  document["model"]["vocab"].erase("Z");
  document["model"]["merges"] = json::array();
  EXPECT_THAT(encode(*loaded(document), "aZZa"), ElementsAre(a, a));
  document["model"]["unk_token"] = "<|end|>";
  EXPECT_THAT(encode(*loaded(document), "aZZa"), ElementsAre(a, 1, 1, a));
  document["model"]["fuse_unk"] = true;
  EXPECT_THAT(encode(*loaded(document), "aZZa"), ElementsAre(a, 1, a));
}

// Behaviour, not time: a quadratic merge of these would take minutes.
TEST(BpeTokenizer, MegabytesWithoutASpace_EncodeAndRoundTrip) {
  const auto tokenizer = loaded(golden_json("gpt2"));
  for (const std::string unit : {"a", "ab", "!", " ", "é", "🙂"}) {
    std::string text;
    while (text.size() < 500'000) text += unit;
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text), TextPosition::kBeginning), text);
  }
}

TEST(BpeTokenizer, WhatIsNotImplemented_IsRefused) {
  const std::vector<std::pair<const char*, std::function<void(json&)>>> cases = {
      {"\"Nmt\"",
       [](json& d) {
         d["normalizer"] = {{"type", "Nmt"}};
       }},
      {"\"Precompiled\"",
       [](json& d) {
         d["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "Precompiled"}}}}};
       }},
      {"dropout", [](json& d) { d["model"]["dropout"] = 0.1; }},
      {"end_of_word_suffix", [](json& d) { d["model"]["end_of_word_suffix"] = "</w>"; }},
      {"Whitespace",
       [](json& d) {
         d["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers", {{{"type", "Whitespace"}}, {{"type", "ByteLevel"}}}}};
       }},
      {"\"Sideways\"",
       [](json& d) {
         d["pre_tokenizer"] = {{"type", "Sequence"},
                               {"pretokenizers",
                                {{{"type", "Split"},
                                  {"pattern", {{"String", " "}}},
                                  {"behavior", "Sideways"},
                                  {"invert", false}},
                                 {{"type", "ByteLevel"}, {"add_prefix_space", false}}}}};
       }},
      {"\"WordPiece\"",
       [](json& d) {
         d["decoder"] = {{"type", "WordPiece"}};
       }},
      {"first space",
       [](json& d) {
         d["decoder"] = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
       }},
      {"model WordPiece", [](json& d) { d["model"]["type"] = "WordPiece"; }},
  };
  for (const auto& [what, change] : cases) {
    json document = golden_json("gpt2");
    change(document);
    const auto tokenizer = load(document);
    ASSERT_FALSE(tokenizer.ok()) << what;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(tokenizer.error().message, HasSubstr(what));
    EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer.json"));
  }
}

TEST(BpeTokenizer, BrokenFiles_AreCorrupt) {
  const std::vector<std::pair<const char*, std::function<void(json&)>>> cases = {
      {"vocabulary", [](json& d) { d["model"]["vocab"] = json::array(); }},
      {"\"a\"", [](json& d) { d["model"]["vocab"]["a"] = -3; }},
      {"\"b\"", [](json& d) { d["model"]["vocab"]["b"] = d["model"]["vocab"]["a"]; }},
      {"merge 0", [](json& d) { d["model"]["merges"][0] = "a"; }},
      {"merge 1", [](json& d) { d["model"]["merges"][1] = 7; }},
      {"merge 2",
       [](json& d) {
         d["model"]["merges"][2] = {"a", "#%&"};
       }},
      {"unk_token", [](json& d) { d["model"]["unk_token"] = "<none>"; }},
      {"added_tokens", [](json& d) { d["added_tokens"] = 5; }},
  };
  for (const auto& [what, change] : cases) {
    json document = golden_json("gpt2");
    change(document);
    const auto tokenizer = load(document);
    ASSERT_FALSE(tokenizer.ok()) << what;
    EXPECT_EQ(tokenizer.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(tokenizer.error().message, HasSubstr(what));
  }
}

TEST(BpeTokenizer, BadPattern_IsNamed) {
  json document = golden_json("llama3");
  document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(unclosed";
  const auto tokenizer = load(document);
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_THAT(tokenizer.error().message, HasSubstr("(unclosed"));
}

TEST(BpeTokenizer, PatternThatExplodes_GivesUp) {
  json document = golden_json("llama3");
  document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a|a|aa)+\\z";
  const auto tokenizer = loaded(document);
  const auto ids = tokenizer->encode(std::string(2000, 'a') + "b", TextPosition::kBeginning);
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().code, ErrorCode::kResourceExhausted);
}

TEST(BpeTokenizer, PatternThatMatchesNothing_LeavesTheTextWhole) {
  json document = golden_json("llama3");
  document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "x*";
  const auto tokenizer = loaded(document);
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "éaxxb🙂"), TextPosition::kBeginning), "éaxxb🙂");
  EXPECT_THAT(encode(*tokenizer, ""), IsEmpty());
}

// One kind each of what a file may hold, with a small vocabulary.
class BpeTokenizerFuzz : public ::testing::TestWithParam<const char*> {};

TEST_P(BpeTokenizerFuzz, MutatedJson_LoadsOrIsRefusedNeverACrash) {
  json document = golden_json(GetParam());
  document["model"]["merges"].get_ref<json::array_t&>().resize(10);
  const std::string text = document.dump();
  const testing::TempDir dir;
  std::mt19937_64 random(4);
  int refusals = 0;
  for (int round = 0; round < 200; ++round) {
    dir.write("tokenizer.json", testing::mutate(text, random));
    const auto tokenizer = load_tokenizer(dir.path());
    if (!tokenizer.ok()) {
      ++refusals;
      continue;
    }
    const auto ids =
        (*tokenizer)->encode("Some te\u0301xt, 123 <|both|>\n- word <|end|>", TextPosition::kBeginning);
    if (ids.ok()) static_cast<void>((*tokenizer)->decode(*ids, TextPosition::kBeginning));
  }
  EXPECT_GT(refusals, 25);
}

INSTANTIATE_TEST_SUITE_P(Kinds, BpeTokenizerFuzz,
                         ::testing::Values("llama3", "behaviors", "forms", "flags", "llama2",
                                           "metaspace_split"));

TEST(BpeTokenizer, RandomBytesAsText_AreEncodedOrRefused) {
  const auto tokenizer = loaded(golden_json("llama3"));
  std::mt19937_64 random(5);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes(random() % 24, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % (round % 2 == 0 ? 256 : 160));
    const auto ids = tokenizer->encode(bytes, TextPosition::kBeginning);
    if (!ids.ok()) continue;
    EXPECT_EQ(tokenizer->decode(*ids, TextPosition::kBeginning), bytes);
  }
}

}  // namespace
}  // namespace dslad::worker
