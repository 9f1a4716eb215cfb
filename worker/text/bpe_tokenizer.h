// A byte pair encoding tokenizer as Hugging Face's: added tokens are found, text between them is normalized
// and cut into words, and each word's characters are merged into tokens. Byte-level ones (Llama 3, Qwen,
// SmolLM, GPT-2) and those made from sentencepiece (Llama 2, Mistral, TinyLlama) differ in data alone.
// Immutable: safe from any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/text/tokenizer_definition.h"

namespace dslad::worker {

class BpeTokenizer final : public Tokenizer {
 public:
  // As create_tokenizer.
  static Result<std::unique_ptr<Tokenizer>> create(TokenizerDefinition definition,
                                                   const TokenizerSettings& settings);

  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, TextPosition position,
                                                    std::span<const TextRange> special_names) const override;
  [[nodiscard]] std::string_view bytes_of(TokenId id) const override;
  [[nodiscard]] bool adds_leading_space() const override { return strips_first_space_; }
  [[nodiscard]] TokenId vocab_size() const override { return static_cast<TokenId>(bytes_.size()); }
  [[nodiscard]] std::optional<TokenId> token_named(std::string_view name) const override {
    return names_.find_special(name);
  }
  [[nodiscard]] std::string_view name_of(TokenId id) const override { return names_.name_of(id); }
  [[nodiscard]] const SpecialTokens& special() const override { return special_; }

 private:
  BpeTokenizer(BpeModel model, Normalizer normalizer, PreTokenizer pre_tokenizer);
  Status add_names(const TokenizerDefinition& definition);
  void fill_bytes(const TokenizerDefinition& definition);
  void choose_special(const TokenizerSettings& settings, const std::optional<std::string>& leading_token);
  [[nodiscard]] std::optional<TokenId> id_of(const std::optional<std::string>& name) const;

  // Each appends the ids of `text` to `ids`.
  Status encode_between_tokens(std::string_view text, TextPlace place,
                               std::span<const TextRange> special_names, std::vector<TokenId>& ids) const;
  Status encode_words(std::string_view text, TextPlace place, std::vector<TokenId>& ids) const;

  BpeModel model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::vector<std::string> bytes_;      // of each id
  SpecialNameFinder names_;             // of added tokens, by the name in the file
  SpecialNameFinder names_before_;      // those that are looked for before the normalizer
  SpecialNameFinder names_normalized_;  // and those behind it, as it writes their names
  SpecialTokens special_;
  bool strips_first_space_ = false;
};

}  // namespace dslad::worker
