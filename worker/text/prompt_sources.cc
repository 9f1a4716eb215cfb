#include "worker/text/prompt_sources.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "worker/files/gguf.h"
#include "worker/files/json_file.h"
#include "worker/files/model_path.h"
#include "worker/files/read_file.h"

namespace dslad::worker {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxPromptBytes = 1 << 20;
constexpr std::size_t kMaxConfigBytes = 16 << 20;

// Nothing where there is no such file.
Result<std::optional<std::string>> optional_text(const std::filesystem::path& path) {
  auto text = read_file(path, kMaxPromptBytes);
  if (text.ok()) return std::optional(*std::move(text));
  if (text.error().code == ErrorCode::kNotFound) return std::optional<std::string>();
  return text.error();
}

// "..." or [{"name": "default", "template": "..."}, ...]
Result<std::optional<std::string>> chat_template_in(const json& document, const std::filesystem::path& path) {
  const Error wrong{
      ErrorCode::kCorrupt,
      path.string() + ": chat_template must be a text, or a list of objects with name and template"};
  if (!document.is_object()) return Error{ErrorCode::kCorrupt, path.string() + ": must be an object"};
  const auto found = document.find("chat_template");
  if (found == document.end() || found->is_null()) return std::optional<std::string>();
  if (found->is_string()) return std::optional(found->get<std::string>());
  if (!found->is_array()) return wrong;
  for (const json& entry : *found) {
    const auto is_text = [&](const char* key) {
      return entry.is_object() && entry.contains(key) && entry[key].is_string();
    };
    if (!is_text("name") || !is_text("template")) return wrong;
    if (entry["name"] == "default") return std::optional(entry["template"].get<std::string>());
  }
  return std::optional<std::string>();
}

Result<std::optional<ChatTemplateText>> find_chat_template(const std::filesystem::path& dir) {
  constexpr const char* kFile = "chat_template.jinja";
  auto file = optional_text(dir / kFile);
  if (!file) return file.error();
  if (*file) return std::optional(ChatTemplateText{**std::move(file), kFile});
  for (const char* const name : {"tokenizer_config.json", "chat_template.json"}) {
    const auto document = load_json(dir / name, kMaxConfigBytes);
    if (!document && document.error().code == ErrorCode::kNotFound) continue;
    if (!document) return document.error();
    auto text = chat_template_in(*document, dir / name);
    if (!text) return text.error();
    if (*text) return std::optional(ChatTemplateText{**std::move(text), name});
  }
  return std::optional<ChatTemplateText>();
}

Result<std::optional<ChatTemplateText>> gguf_chat_template(const std::filesystem::path& path) {
  constexpr const char* kKey = "tokenizer.chat_template";
  const auto file = GgufFile::open(path);
  if (!file) return file.error();
  const GgufValue* const value = file->find(kKey);
  if (value == nullptr) return std::optional<ChatTemplateText>();
  const auto text = value->text();
  if (!text || !valid_utf8(*text)) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {} is no text", path.string(), kKey)};
  }
  return std::optional(ChatTemplateText{std::string(*text), kKey});
}

}  // namespace

Result<PromptSources> read_prompt_sources(const std::filesystem::path& model) {
  PromptSources sources;
  const std::filesystem::path path = model_companion(model, "dslad.toml");
  sources.settings_name = path.string();
  auto settings = optional_text(path);
  if (!settings) return settings.error();
  sources.settings = *std::move(settings);
  auto chat = is_gguf(model) ? gguf_chat_template(model) : find_chat_template(model);
  if (!chat) return chat.error();
  sources.chat = *std::move(chat);
  return sources;
}

}  // namespace dslad::worker
