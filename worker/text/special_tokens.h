// What a model's folder says about special tokens outside the tokenizer file itself, and finding their
// names in text. Plain values; immutable once built.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "worker/text/tokenizer.h"

namespace dslad::worker {

// tokenizer_config.json and, for ids that it does not name, config.json. Either may be absent.
struct TokenizerSettings {
  std::optional<std::string> bos_name, eos_name, unknown_name;
  std::optional<TokenId> bos_id, eos_id;
  std::optional<bool> add_bos;

  static Result<TokenizerSettings> load(const std::filesystem::path& dir);
};

class SpecialNameFinder {
 public:
  // Either ordinary text or one special token.
  struct Segment {
    std::string_view text;
    std::optional<TokenId> token;
  };

  void add(std::string name, TokenId id);  // an empty name is ignored
  [[nodiscard]] std::optional<TokenId> find(std::string_view name) const;

  // `text` cut at the names that lie within `ranges` (sorted, disjoint): the leftmost first, the longest of
  // several there. Ordinary segments are never empty and never adjacent.
  [[nodiscard]] std::vector<Segment> split(std::string_view text, std::span<const TextRange> ranges) const;

 private:
  using Entry = std::pair<std::string, TokenId>;
  [[nodiscard]] const Entry* match(std::string_view text) const;  // the longest name that `text` begins with

  std::array<std::vector<Entry>, 256> by_first_byte_;
};

}  // namespace dslad::worker
