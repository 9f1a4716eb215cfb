// A byte-level BPE tokenizer, as Llama 3, SmolLM and GPT-2 use: text is cut into words, each word's UTF-8
// bytes are merged into tokens. Every text round-trips exactly. Immutable: safe from any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/text/bpe_files.h"
#include "worker/text/special_tokens.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

class BpeTokenizer final : public Tokenizer {
 public:
  // Errors: kCorrupt for merges that do not fit the vocabulary.
  static Result<std::unique_ptr<Tokenizer>> create(BpeFiles files, const TokenizerSettings& settings);

  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, TextPosition position,
                                                    std::span<const TextRange> special_names) const override;
  [[nodiscard]] std::string_view bytes_of(TokenId id) const override;
  [[nodiscard]] bool adds_leading_space() const override { return pre_tokenizer_.adds_prefix_space(); }
  [[nodiscard]] TokenId vocab_size() const override { return static_cast<TokenId>(bytes_.size()); }
  [[nodiscard]] const SpecialTokens& special() const override { return special_; }

 private:
  BpeTokenizer(BpeModel model, PreTokenizer pre_tokenizer);
  void fill_tables(const BpeFiles& files);
  void choose_special(const TokenizerSettings& settings, const std::optional<std::string>& leading_token);
  [[nodiscard]] std::optional<TokenId> id_of(const std::optional<std::string>& name) const;
  Status encode_plain(std::string_view text, TextPosition position, std::vector<TokenId>& ids) const;

  BpeModel model_;
  PreTokenizer pre_tokenizer_;
  std::vector<std::string> bytes_;  // of each id
  SpecialNameFinder names_;         // of added tokens
  SpecialTokens special_;
};

}  // namespace dslad::worker
