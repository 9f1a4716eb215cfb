// What holds of a model's prompts, for people: which chat template was recognised, what each task's prompt is
// and what ends an answer. Pure; safe from any thread.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "worker/text/answer_ends.h"
#include "worker/text/prompt.h"

namespace dslad::worker {

// One line, for logs.
[[nodiscard]] std::string prompt_line(const PromptTemplate& prompt, std::span<const AnswerEndToken> ends);

// Some lines, for a terminal; warnings included.
[[nodiscard]] std::string prompt_text(const PromptTemplate& prompt, std::span<const AnswerEndToken> ends);

// {"chat_template", "summarize", "qa", "generate", "ends", "stop", "warnings"}
[[nodiscard]] nlohmann::ordered_json prompt_json(const PromptTemplate& prompt,
                                                 std::span<const AnswerEndToken> ends);

}  // namespace dslad::worker
