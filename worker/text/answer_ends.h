// The tokens that end an answer: the files of a model do not always name the same ones.
//
// A chat model fine-tuned from another often has its base's end in config.json and its own in
// tokenizer_config.json. Any of them ends an answer. Pure; safe from any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct AnswerEndToken {
  TokenId id;
  std::string name;               // empty where the tokenizer has none for it
  std::vector<std::string> from;  // who says so: "config", "tokenizer", "chat template", "dslad.toml"
};

// `configured`: of config.json and generation_config.json. Each token once, those of the configuration first.
[[nodiscard]] std::vector<AnswerEndToken> answer_ends(std::span<const TokenId> configured,
                                                      const Tokenizer& tokenizer,
                                                      const PromptTemplate& prompt);

[[nodiscard]] std::vector<TokenId> ids_of(std::span<const AnswerEndToken> ends);

}  // namespace dslad::worker
