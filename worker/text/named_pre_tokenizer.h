// Pre-tokenizers by the names that GGUF files have for them ("tokenizer.ggml.pre"): such a file does not
// state the patterns themselves. Pure; safe from any thread.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "worker/text/normalizer.h"
#include "worker/text/pre_tokenizer.h"

namespace dslad::worker {

// What goes with a name; each is for the field of TokenizerDefinition, or BpeDefinition, of its name.
struct NamedPreTokenizer {
  std::vector<NormalizerStep> normalizer = {};
  std::vector<PreTokenizerStep> steps = {};  // pre_tokenizer
  bool ignore_merges = false;
};

// Errors: kInvalidArgument naming the name and those that are known.
Result<NamedPreTokenizer> named_pre_tokenizer(std::string_view name);

}  // namespace dslad::worker
