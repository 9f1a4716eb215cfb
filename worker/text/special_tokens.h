// What a model's folder says about special and added tokens outside the tokenizer file itself, and finding
// their names in text. Plain values; immutable once built.
#pragma once

#include <array>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/text/tokenizer.h"

namespace dslad::worker {

// A token beside the vocabulary, or marked in it. One that is not special is text: its name is that token
// wherever it stands.
struct AddedToken {
  std::string name;
  TokenId id;
  bool special;  // contributes no bytes to a text, and is named by templates alone

  // What surrounds its name in a text.
  bool normalized = false;   // looked for after the normalizer, else before
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool single_word = false;  // is none within a word
};

// The list "added_tokens" of a tokenizer.json; null: none. Errors: kCorrupt, kInvalidArgument; messages do
// not name the file.
Result<std::vector<AddedToken>> parse_added_tokens(const nlohmann::json* list);

// tokenizer_config.json, special_tokens_map.json for names that it lacks, added_tokens.json and, for ids that
// they do not name, config.json. Each may be absent.
struct TokenizerSettings {
  std::optional<std::string> bos_name, eos_name, unknown_name;
  std::optional<TokenId> bos_id, eos_id;
  std::optional<bool> add_bos;
  std::vector<AddedToken> added;
  // Names that are special whatever the files say: of a chat's control tokens, by which a document could end
  // itself.
  std::set<std::string, std::less<>> control;

  // Marks those of `tokens` that `control` names.
  void mark_control(std::vector<AddedToken>& tokens) const;
  static Result<TokenizerSettings> load(const std::filesystem::path& dir);
};

class SpecialNameFinder {
 public:
  // Either ordinary text, a part of the one that was split, or one token that has a name.
  struct Segment {
    std::string_view text;
    std::optional<TokenId> token;
    bool special = false;
  };

  void add(const AddedToken& token);  // an empty name is ignored
  [[nodiscard]] std::optional<TokenId> find(std::string_view name) const;
  // Of special tokens alone: the id of a name, and an id's name, empty where it has none.
  [[nodiscard]] std::optional<TokenId> find_special(std::string_view name) const;
  [[nodiscard]] std::string_view name_of(TokenId id) const;

  // `text` cut at the names that lie within `ranges` (sorted, disjoint), those that are not special anywhere:
  // the leftmost first, the longest of several there, as Hugging Face does when it is told to take the names
  // of special tokens for text. Ordinary segments are never empty and never adjacent.
  [[nodiscard]] std::vector<Segment> split(std::string_view text, std::span<const TextRange> ranges) const;

 private:
  // The longest name at text[at]. A special one that lies across an end of the range [begin, end) is none: a
  // document must not spoil what a template goes on with.
  [[nodiscard]] const AddedToken* match(std::string_view text, std::size_t at, const TextRange* range) const;

  std::array<std::vector<AddedToken>, 256> by_first_byte_;
  bool only_special_ = true;
};

}  // namespace dslad::worker
