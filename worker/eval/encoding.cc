#include "worker/eval/encoding.h"

#include <algorithm>

namespace dslad::worker {
namespace {

Result<std::vector<TokenId>> checked(const ModelFolder& model, Result<std::vector<TokenId>> ids) {
  const auto known = [&](TokenId id) { return id >= 0 && id < model.weights->config.vocab_size; };
  if (!ids || std::ranges::all_of(*ids, known)) return ids;
  return Error{ErrorCode::kInvalidArgument, "the tokenizer yields ids beyond the model's vocabulary"};
}

}  // namespace

bool begins_with_bos(const ModelFolder& model) {
  return model.prompt.bos().value_or(model.tokenizer->special().adds_bos);
}

Result<std::vector<TokenId>> encode_beginning(const ModelFolder& model, std::string_view text) {
  PromptText prompt;
  prompt.head.text = text;
  prompt.bos = model.prompt.bos();
  return checked(model, encode_head(*model.tokenizer, prompt));
}

Result<std::vector<TokenId>> encode_continuation(const ModelFolder& model, std::string_view text) {
  return checked(model, model.tokenizer->encode(text, TextPosition::kContinuation));
}

}  // namespace dslad::worker
