#include "worker/text/prompt.h"

namespace dslad::worker {

Result<std::vector<TokenId>> encode_head(const Tokenizer& tokenizer, const PromptText& text) {
  const std::optional<TokenId> bos = tokenizer.special().bos;
  const bool wanted = text.bos.value_or(tokenizer.special().adds_bos);
  if (wanted && !bos) {
    return Error{
        ErrorCode::kInvalidArgument,
        "dslad.toml asks for bos, but neither the tokenizer nor config.json names one; set bos = false"};
  }
  auto ids = tokenizer.encode(text.head.text, TextPosition::kBeginning, text.head.from_template);
  if (!ids || !wanted) return ids;
  // A template copied from elsewhere often names bos itself: a model was never shown two of them.
  const auto& named = text.head.from_template;
  const bool has_it = !named.empty() && named.front().begin == 0 && !ids->empty() && ids->front() == *bos;
  if (!has_it) ids->insert(ids->begin(), *bos);
  return ids;
}

Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptText& text) {
  return encode_tail(tokenizer, text.tail, text.head.text.empty());
}

Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptPiece& tail,
                                         bool head_empty) {
  return tokenizer.encode(tail.text, head_empty ? TextPosition::kBeginning : TextPosition::kContinuation,
                          tail.from_template);
}

TextPosition position_after(const PromptText& text) {
  return text.empty() ? TextPosition::kBeginning : TextPosition::kContinuation;
}

}  // namespace dslad::worker
