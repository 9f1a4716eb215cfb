// A sentencepiece model (tokenizer.model), as Llama 2 and its relatives use.
//
// Wraps libsentencepiece, which is included in the .cc alone. Two processors over the same model: one puts
// the model's dummy prefix before a text, the other does not, for texts that continue another.
// Immutable after loading: safe from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "worker/text/special_tokens.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  // What `settings` say of bos and eos wins over what the model says; their added tokens come behind its
  // pieces.
  static Result<std::unique_ptr<Tokenizer>> load(const std::filesystem::path& path,
                                                 const TokenizerSettings& settings);
  ~SentencePieceTokenizer() override;

  [[nodiscard]] Result<std::vector<TokenId>> encode(std::string_view text, TextPosition position,
                                                    std::span<const TextRange> special_names) const override;
  [[nodiscard]] std::string_view bytes_of(TokenId id) const override;
  [[nodiscard]] bool adds_leading_space() const override { return adds_leading_space_; }
  [[nodiscard]] TokenId vocab_size() const override { return static_cast<TokenId>(bytes_.size()); }
  [[nodiscard]] std::optional<TokenId> token_named(std::string_view name) const override {
    return names_.find_special(name);
  }
  [[nodiscard]] std::string_view name_of(TokenId id) const override { return names_.name_of(id); }
  [[nodiscard]] const SpecialTokens& special() const override { return special_; }

 private:
  struct Processors;

  explicit SentencePieceTokenizer(std::unique_ptr<Processors> processors);
  void apply(const TokenizerSettings& settings);
  [[nodiscard]] std::vector<TokenId> encode_plain(std::string_view text, TextPosition position) const;

  std::unique_ptr<Processors> processors_;
  std::vector<std::string> bytes_;  // of each id
  SpecialNameFinder names_;
  SpecialTokens special_;
  bool adds_leading_space_ = false;
  bool strips_spaces_ = false;  // the model's normalizer removes spaces at the beginning of every text
};

}  // namespace dslad::worker
