// The parts of a tokenizer.json around its model, each a step or a "Sequence" of steps: normalizer,
// pre_tokenizer and decoder. Null: none. Errors: kInvalidArgument naming what is not implemented, kCorrupt.
// Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"
#include "worker/text/tokenizer_definition.h"

namespace dslad::worker {

Result<std::vector<NormalizerStep>> parse_normalizer(const nlohmann::json* description);
Result<std::vector<PreTokenizerStep>> parse_pre_tokenizer(const nlohmann::json* description);

// Without a description what undoes the steps of `definition`.
Result<TokenDecoding> parse_decoder(const nlohmann::json* description, const TokenizerDefinition& definition);

}  // namespace dslad::worker
