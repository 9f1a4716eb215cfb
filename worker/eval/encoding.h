// Texts to score as token ids, begun as the model's prompts begin. Pure; safe from any thread.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/tasks/model_folder.h"

namespace dslad::worker {

// Whether prompts of this model begin with bos: dslad.toml says so, else the tokenizer's files.
bool begins_with_bos(const ModelFolder& model);

// bos (where prompts have it) and the ids of `text`. Errors: those of encode_head; kInvalidArgument for ids
// that the model's vocabulary lacks.
Result<std::vector<TokenId>> encode_beginning(const ModelFolder& model, std::string_view text);

// The ids of a text that follows other text. Errors: as above.
Result<std::vector<TokenId>> encode_continuation(const ModelFolder& model, std::string_view text);

}  // namespace dslad::worker
