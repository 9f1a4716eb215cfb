#include "worker/tasks/prompt_notes.h"

#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace dslad::worker {
namespace {

using nlohmann::ordered_json;

constexpr std::array kTasks = {schema::Task::kSummarize, schema::Task::kQa, schema::Task::kGenerate};

// As it may stand in dslad.toml.
std::string in_quotes(std::string_view text) {
  return ordered_json(text).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// "ChatML of tokenizer_config.json", "unknown, of tokenizer_config.json" or "none".
std::string chat_words(const PromptTemplate& prompt) {
  if (prompt.chat_from().empty()) return "none";
  if (!prompt.chat()) return "unknown, of " + prompt.chat_from();
  return prompt.chat()->kind + " of " + prompt.chat_from();
}

std::string end_words(std::span<const AnswerEndToken> ends) {
  std::vector<std::string> words;
  for (const AnswerEndToken& end : ends) {
    words.push_back(end.name.empty() ? fmt::format("{}", end.id) : fmt::format("{} {}", end.id, end.name));
  }
  return words.empty() ? "by length alone" : fmt::format("{}", fmt::join(words, ", "));
}

}  // namespace

std::string prompt_line(const PromptTemplate& prompt, std::span<const AnswerEndToken> ends) {
  std::vector<std::string> tasks;
  for (const schema::Task task : kTasks) {
    tasks.push_back(fmt::format("{} by {}", schema::to_string(task), to_string(prompt.origin(task))));
  }
  return fmt::format("prompts: {}; chat template: {}; answers end with: {}", fmt::join(tasks, ", "),
                     chat_words(prompt), end_words(ends));
}

std::string prompt_text(const PromptTemplate& prompt, std::span<const AnswerEndToken> ends) {
  std::string text = fmt::format("chat template  {}\n", chat_words(prompt));
  for (const schema::Task task : kTasks) {
    text += fmt::format("  {:<12} {} ({})\n", schema::to_string(task), in_quotes(prompt.shown(task)),
                        to_string(prompt.origin(task)));
  }
  if (prompt.chat() && prompt.origin(schema::Task::kGenerate) == PromptOrigin::kDefault) {
    text += fmt::format("  as a turn    generate = {}\n",
                        in_quotes(prompt.chat()->before + "{prompt}" + prompt.chat()->after));
  }
  std::string label = "answers end";
  for (const AnswerEndToken& end : ends) {
    text += fmt::format("{:<14} {} {} ({})\n", label, end.id, end.name, fmt::join(end.from, ", "));
    label.clear();
  }
  if (ends.empty()) text += fmt::format("{:<14} by length alone: no file names an end of sequence\n", label);
  for (const std::string& stop : prompt.stop()) text += fmt::format("stop text      {}\n", in_quotes(stop));
  for (const std::string& warning : prompt.warnings()) text += fmt::format("warning        {}\n", warning);
  return text;
}

ordered_json prompt_json(const PromptTemplate& prompt, std::span<const AnswerEndToken> ends) {
  ordered_json out;
  out["chat_template"] = nullptr;
  if (!prompt.chat_from().empty()) {
    ordered_json& chat = out["chat_template"];
    chat["from"] = prompt.chat_from();
    chat["kind"] = prompt.chat() ? ordered_json(prompt.chat()->kind) : ordered_json(nullptr);
    if (prompt.chat()) {
      chat["before"] = prompt.chat()->before;
      chat["after"] = prompt.chat()->after;
      chat["system"] = prompt.chat()->system;
      chat["bos"] = prompt.chat()->bos;
    }
  }
  for (const schema::Task task : kTasks) {
    out[std::string(schema::to_string(task))] = {{"template", prompt.shown(task)},
                                                 {"from", to_string(prompt.origin(task))}};
  }
  out["ends"] = ordered_json::array();
  for (const AnswerEndToken& end : ends) {
    out["ends"].push_back({{"id", end.id}, {"name", end.name}, {"from", end.from}});
  }
  out["stop"] = prompt.stop();
  out["warnings"] = prompt.warnings();
  return out;
}

}  // namespace dslad::worker
