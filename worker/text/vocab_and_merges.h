// GPT-2's own files: vocab.json with merges.txt. What they do not say is as GPT-2 has it: byte level, its
// pattern, no added tokens. Pure.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "worker/text/tokenizer_definition.h"

namespace dslad::worker {

// Errors: kNotFound, kCorrupt; messages name the file.
Result<TokenizerDefinition> load_vocab_and_merges(const std::filesystem::path& dir);

}  // namespace dslad::worker
