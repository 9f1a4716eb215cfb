#include "worker/text/answer_ends.h"

#include <algorithm>

namespace dslad::worker {

std::vector<AnswerEndToken> answer_ends(std::span<const TokenId> configured, const Tokenizer& tokenizer,
                                        const PromptTemplate& prompt) {
  std::vector<AnswerEndToken> ends;
  const auto add = [&](TokenId id, std::string_view from) {
    auto end = std::ranges::find(ends, id, &AnswerEndToken::id);
    if (end == ends.end()) end = ends.insert(ends.end(), {id, std::string(tokenizer.name_of(id)), {}});
    end->from.emplace_back(from);
  };
  for (const TokenId id : configured) add(id, "config");
  if (const auto eos = tokenizer.special().eos) add(*eos, "tokenizer");
  for (const PromptEnd& end : prompt.ends()) add(end.id, to_string(end.origin));
  return ends;
}

std::vector<TokenId> ids_of(std::span<const AnswerEndToken> ends) {
  std::vector<TokenId> ids;
  for (const AnswerEndToken& end : ends) ids.push_back(end.id);
  return ids;
}

}  // namespace dslad::worker
