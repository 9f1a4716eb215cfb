// Hugging Face's tokenizer.json, where its model is a byte pair encoding. What a file asks for and dslad does
// not implement is an error, never ignored; but for truncation and padding, which are for training. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"
#include "worker/text/tokenizer_definition.h"

namespace dslad::worker {

// Whether the model of a tokenizer.json is a byte pair encoding. Old files do not name its type.
bool is_bpe(const nlohmann::json& document);

// Errors: kCorrupt, kInvalidArgument; messages do not name the file.
Result<TokenizerDefinition> parse_tokenizer_json(const nlohmann::json& document);

// {"token": id, ...}, the whole of a vocab.json. Errors: kCorrupt.
Status read_vocabulary(const nlohmann::json* vocabulary, BpeDefinition& definition);

// "left right", appended. Errors: kCorrupt naming its number.
Status read_merge(std::string_view line, BpeDefinition& definition);

}  // namespace dslad::worker
