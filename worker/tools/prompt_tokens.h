// Each task's prompt token by token, with an example in the place of what users hand in: to see what a model
// is really given. Pure; safe from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "worker/text/prompt.h"
#include "worker/text/tokenizer.h"

namespace dslad::worker {

struct PromptToken {
  TokenId id;
  std::string text;  // a special token's name, else its bytes
  bool special;
  std::string_view of;  // "document", "question" or "prompt"; empty: the template's
};

struct PromptListing {
  schema::Task task;
  std::vector<PromptToken> tokens;
};

// Of all tasks. Errors: those of encode_head.
Result<std::vector<PromptListing>> list_prompts(const PromptTemplate& prompt, const Tokenizer& tokenizer);

[[nodiscard]] std::string listing_text(const std::vector<PromptListing>& listings);
[[nodiscard]] nlohmann::ordered_json listing_json(const std::vector<PromptListing>& listings);

}  // namespace dslad::worker
