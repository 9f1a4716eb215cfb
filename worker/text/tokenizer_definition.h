// A byte pair encoding tokenizer as plain data, whatever file states it: tokenizer.json, vocab.json with
// merges.txt, or the metadata of another format (GGUF). Readers of files fill it; create_tokenizer checks it
// and builds the tokenizer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "worker/text/bpe_model.h"
#include "worker/text/normalizer.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/special_tokens.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

// What a token of the vocabulary contributes to a text.
struct TokenDecoding {
  bool byte_level = false;     // the bytes that its characters stand for (byte_level.h)
  bool byte_fallback = false;  // "<0x0A>" is that byte
  std::vector<std::pair<std::string, std::string>> replacements;  // U+2581 by a space, say; in order
  bool strips_first_space = false;  // a text's first space is the one that encoding put there
};

struct TokenizerDefinition {
  BpeDefinition bpe;
  std::vector<AddedToken> added;  // their ids win over the vocabulary's
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  TokenDecoding decoding;
  std::optional<std::string> leading_token;  // the name of what is put before every text: bos
};

// What `settings` say of bos and eos, by name or id, holds where the definition has no leading token.
// Errors: kCorrupt for merges or scores that do not fit the vocabulary; kInvalidArgument for a pattern that
// does not compile. Messages name no file.
Result<std::unique_ptr<Tokenizer>> create_tokenizer(TokenizerDefinition definition,
                                                    const TokenizerSettings& settings);

}  // namespace dslad::worker
