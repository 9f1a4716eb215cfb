// Small tokenizers of every kind that is implemented, over texts that are hard on them, against what the
// `tokenizers` package computes (tests/golden/make_tokenizers.py, which also makes many more for a check).
#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/worker/test_files.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

constexpr int kShown = 5;  // differences of one tokenizer; the rest are counted

struct Comparison {
  int compared = 0, different = 0;

  void expect_equal(const Result<Ids>& ids, const Ids& expected, const std::string& text, const char* where) {
    ++compared;
    if (ids.ok() && *ids == expected) return;
    if (++different > kShown) return;
    ADD_FAILURE() << where << ": " << json(text).dump(-1, ' ', true) << "\n  is     "
                  << (ids.ok() ? json(*ids).dump() : ids.error().message) << "\n  not as " << json(expected);
  }
};

// Names of special tokens are text in the one, tokens in the other.
void compare_hard_texts(const Tokenizer& tokenizer, const json& texts, const json& vectors,
                        Comparison& result) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const auto plain = vectors["hard"][i].get<Ids>();
    result.expect_equal(tokenizer.encode(text, TextPosition::kBeginning), plain, text, "hard");
    const std::vector<TextRange> all = {{0, text.size()}};
    const std::string number = std::to_string(i);
    const json& special = vectors["hard_special"];
    result.expect_equal(tokenizer.encode(text, TextPosition::kBeginning, all),
                        special.contains(number) ? special[number].get<Ids>() : plain, text, "hard_special");
  }
}

void compare(const std::filesystem::path& folder, const json& hard, Comparison& result) {
  SCOPED_TRACE(folder.filename().string());
  const auto tokenizer = load_tokenizer(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const json vectors = testing::read_json(folder / "vectors.json");
  const json texts = testing::read_json(testing::golden_path("tokenizers/texts.json"));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    const auto expected = vectors["ids"][i].get<Ids>();
    result.expect_equal((*tokenizer)->encode(text, TextPosition::kBeginning), expected, text, "ids");
    if (vectors.contains("decoded")) {
      EXPECT_EQ((*tokenizer)->decode(expected, TextPosition::kBeginning),
                vectors["decoded"][i].get<std::string>());
    }
  }
  for (const json& vector : vectors["added"]) {
    const auto text = vector["text"].get<std::string>();
    result.expect_equal((*tokenizer)->encode(text, TextPosition::kBeginning), vector["ids"].get<Ids>(), text,
                        "added");
  }
  compare_hard_texts(**tokenizer, hard, vectors, result);
  for (std::size_t i = 0; vectors.contains("random_ids") && i < vectors["random_ids"].size(); ++i) {
    EXPECT_EQ((*tokenizer)->decode(vectors["random_ids"][i].get<Ids>(), TextPosition::kContinuation),
              vectors["random_texts"][i].get<std::string>());
  }
}

std::set<std::filesystem::path> tokenizers_in(const std::filesystem::path& folder) {
  std::set<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (std::filesystem::exists(entry.path() / "vectors.json")) found.insert(entry.path());
  }
  return found;
}

TEST(TokenizerVectors, EveryKind_EncodesAndDecodesAsHuggingFace) {
  const auto folder = testing::golden_path("tokenizers");
  const json hard = testing::read_json(folder / "hard_texts.json");
  const auto found = tokenizers_in(folder);
  EXPECT_GT(found.size(), 20u);
  for (const auto& tokenizer : found) {
    Comparison result;
    compare(tokenizer, hard, result);
    EXPECT_EQ(result.different, 0) << tokenizer << ", of " << result.compared;
  }
}

TEST(TokenizerVectors, ThoseOfAFolderOfYourOwn_Agree) {
  const char* const folder = std::getenv("DSLAD_TOKENIZER_VECTORS");
  if (folder == nullptr) GTEST_SKIP() << "skipped: DSLAD_TOKENIZER_VECTORS names no folder";
  const json hard = testing::read_json(std::filesystem::path(folder) / "hard_texts.json");
  for (const auto& tokenizer : tokenizers_in(folder)) {
    Comparison result;
    compare(tokenizer, hard, result);
    EXPECT_EQ(result.different, 0) << tokenizer;
    std::cout << tokenizer.filename().string() << ": " << result.different << " of " << result.compared
              << " encodings differ\n";
  }
}

}  // namespace
}  // namespace dslad::worker
