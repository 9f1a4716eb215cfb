// A tokenizer whose ids are whatever bytes a test says, for what lies above tokenizers.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "worker/text/tokenizer.h"

namespace dslad::worker::testing {

// Id i decodes to pieces[i]; encodes one byte to its value and remembers how it was asked.
class FakeTokenizer final : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> pieces, bool leading_space = false)
      : pieces_(std::move(pieces)), leading_space_(leading_space) {}

  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, TextPosition position,
                                                    std::span<const TextRange> special_names) const override {
    last_position = position;
    last_ranges.assign(special_names.begin(), special_names.end());
    std::vector<TokenId> ids;
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }
  [[nodiscard]] std::string_view bytes_of(TokenId id) const override {
    return id < 0 || id >= vocab_size() ? std::string_view{} : pieces_[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] bool adds_leading_space() const override { return leading_space_; }
  [[nodiscard]] TokenId vocab_size() const override { return static_cast<TokenId>(pieces_.size()); }
  [[nodiscard]] std::optional<TokenId> token_named(std::string_view name) const override {
    for (const auto& [id, own] : names) {
      if (own == name) return id;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::string_view name_of(TokenId id) const override {
    const auto found = names.find(id);
    return found == names.end() ? std::string_view{} : found->second;
  }
  [[nodiscard]] const SpecialTokens& special() const override { return special_tokens; }

  SpecialTokens special_tokens;
  std::map<TokenId, std::string> names;  // of special tokens
  mutable TextPosition last_position = TextPosition::kBeginning;
  mutable std::vector<TextRange> last_ranges;

 private:
  std::vector<std::string> pieces_;
  bool leading_space_;
};

}  // namespace dslad::worker::testing
