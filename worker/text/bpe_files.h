// The files that hold a byte-level BPE tokenizer: tokenizer.json (Hugging Face), or vocab.json with
// merges.txt (GPT-2's own). What a file asks for and dslad does not implement is an error, never ignored.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "schema/result.h"
#include "worker/text/bpe_model.h"
#include "worker/text/pre_tokenizer.h"
#include "worker/text/special_tokens.h"

namespace dslad::worker {

struct BpeFiles {
  BpeDefinition definition;
  std::vector<AddedToken> added;
  PreTokenizer pre_tokenizer;
  std::optional<std::string> leading_token;  // put before every text by the post-processor
};

// Whether a tokenizer.json is a byte-level BPE at all.
bool is_byte_level_bpe(const nlohmann::json& document);

// Errors: kCorrupt, kInvalidArgument; messages do not name the file.
Result<BpeFiles> parse_tokenizer_json(const nlohmann::json& document);

// Errors: also kNotFound; messages name the file.
Result<BpeFiles> load_vocab_and_merges(const std::filesystem::path& dir);

}  // namespace dslad::worker
