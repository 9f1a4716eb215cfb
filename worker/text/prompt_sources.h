// Where a model says how it is prompted: `dslad.toml` and the chat template of its makers.
//
// A chat template is chat_template.jinja, or in tokenizer_config.json, or in chat_template.json; the first of
// these that is there counts, as Hugging Face has it. There it may be a list of named ones; then "default"
// counts. A GGUF file has it in its metadata, and FILE.dslad.toml beside it (files/model_path.h). Plain
// values; safe from any thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"

namespace dslad::worker {

struct ChatTemplateText {
  std::string jinja;
  std::string from;  // the file's name
};

struct PromptSources {
  std::optional<std::string> settings;  // the text of dslad.toml
  std::string settings_name = "dslad.toml";
  std::optional<ChatTemplateText> chat;
};

// Errors: kCorrupt for malformed JSON or a chat template that is no text; those of read_file.
Result<PromptSources> read_prompt_sources(const std::filesystem::path& model);

}  // namespace dslad::worker
