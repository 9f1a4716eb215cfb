#include "worker/text/prompt.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace dslad::worker {
namespace {

// What a task asks for within a user's turn. A chat template says how a turn is written, not what to say.
constexpr std::string_view kSummarizeText = "Summarize the following text in a few sentences.\n\n";
constexpr std::string_view kQaText = "Read the text and answer the question with a few words from it.\n\n";
constexpr std::string_view kQuestion = "\n\nQuestion: ";

}  // namespace

std::string_view to_string(PromptOrigin origin) {
  switch (origin) {
    case PromptOrigin::kChatTemplate:
      return "chat template";
    case PromptOrigin::kSettings:
      return "dslad.toml";
    case PromptOrigin::kDefault:
      break;
  }
  return "default";
}

PromptTemplate::PromptTemplate() {
  summarize_.literals = {"", "\n\nSummary:"};
  qa_.literals = {"", std::string(kQuestion), "\nAnswer:"};
  generate_.literals = {"", ""};
}

Result<PromptTemplate> PromptTemplate::parse(std::string_view toml, std::string_view name) {
  return read_settings(toml, name, PromptTemplate());
}

Result<PromptTemplate> PromptTemplate::load(const std::filesystem::path& dir, const Tokenizer& tokenizer) {
  const auto sources = read_prompt_sources(dir);
  if (!sources) return sources.error();
  return create(*sources, tokenizer);
}

Result<PromptTemplate> PromptTemplate::create(const PromptSources& sources, const Tokenizer& tokenizer) {
  PromptTemplate base;
  std::string unknown;
  if (sources.chat) {
    base.chat_from_ = sources.chat->from;
    auto format = recognise_chat_template(sources.chat->jinja, tokenizer);
    if (format.ok()) {
      base.use_format(*std::move(format), tokenizer);
    } else {
      unknown = format.error().message;
    }
  }
  auto prompt = sources.settings ? read_settings(*sources.settings, sources.settings_name, std::move(base))
                                 : Result<PromptTemplate>(std::move(base));
  if (!prompt) return prompt;
  prompt->sort_stops(tokenizer);
  const bool plain =
      prompt->summarize_.origin == PromptOrigin::kDefault || prompt->qa_.origin == PromptOrigin::kDefault;
  if (!unknown.empty() && plain) {
    prompt->warnings_.push_back(fmt::format(
        "the chat template of {} is unknown ({}): plain prompts are used, which a chat model may answer "
        "badly; write its turns into dslad.toml",
        sources.chat->from, unknown));
  }
  return prompt;
}

void PromptTemplate::use_format(ChatFormat format, const Tokenizer& tokenizer) {
  const auto task = [&](std::string_view ask, std::initializer_list<std::string_view> between) {
    TaskTemplate made;
    made.literals.push_back(format.before + std::string(ask));
    for (const std::string_view text : between) made.literals.emplace_back(text);
    made.literals.push_back(format.after);
    made.origin = PromptOrigin::kChatTemplate;
    made.bos = format.bos;
    made.trims_last = format.trims;
    return made;
  };
  summarize_ = task(kSummarizeText, {});
  qa_ = task(kQaText, {kQuestion});
  for (const std::string& name : format.ends) {
    if (const auto id = tokenizer.token_named(name)) add_end(*id, PromptOrigin::kChatTemplate);
  }
  chat_ = std::move(format);
}

// A special token has no text: a stop text that is its name can only mean the token.
void PromptTemplate::sort_stops(const Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (std::string& stop : stop_) {
    if (const auto id = tokenizer.token_named(stop)) {
      add_end(*id, PromptOrigin::kSettings);
      continue;
    }
    const TextRange whole{0, stop.size()};
    const auto ids = tokenizer.encode(stop, TextPosition::kContinuation, std::span(&whole, 1));
    const bool special =
        ids.ok() && std::ranges::any_of(*ids, [&](TokenId id) { return !tokenizer.name_of(id).empty(); });
    if (special) {
      warnings_.push_back(
          fmt::format("the stop text \"{}\" of dslad.toml has the name of a special token, which has no "
                      "text: it never matches; "
                      "write that name alone",
                      stop));
    }
    texts.push_back(std::move(stop));
  }
  stop_ = std::move(texts);
}

void PromptTemplate::add_end(TokenId id, PromptOrigin origin) {
  if (std::ranges::find(ends_, id, &PromptEnd::id) == ends_.end()) ends_.push_back({id, origin});
}

const PromptTemplate::TaskTemplate& PromptTemplate::of(schema::Task task) const {
  switch (task) {
    case schema::Task::kSummarize:
      return summarize_;
    case schema::Task::kQa:
      return qa_;
    case schema::Task::kGenerate:
      break;
  }
  return generate_;
}

std::string PromptTemplate::shown(schema::Task task) const {
  const Literals& literals = of(task).literals;
  const std::string first = task == schema::Task::kGenerate ? "{prompt}" : "{document}";
  std::string text = literals.front() + first + literals[1];
  if (literals.size() > 2) text += "{question}" + literals[2];
  return text;
}

void PromptTemplate::append_literal(PromptPiece& piece, const std::string& literal) {
  if (literal.empty()) return;
  piece.from_template.push_back({piece.text.size(), piece.text.size() + literal.size()});
  piece.text += literal;
}

std::string_view PromptTemplate::last_value(const TaskTemplate& task, std::string_view value) {
  return task.trims_last ? value.substr(0, value.find_last_not_of(" \t\r\n") + 1) : value;
}

PromptText PromptTemplate::one_value(const TaskTemplate& task, std::string_view value) const {
  PromptText text;
  text.bos = bos_ ? bos_ : task.bos;
  append_literal(text.head, task.literals[0]);
  text.head.text += last_value(task, value);
  append_literal(text.tail, task.literals[1]);
  return text;
}

PromptText PromptTemplate::summarize(std::string_view document) const {
  return one_value(summarize_, document);
}

PromptText PromptTemplate::generate(std::string_view prompt) const {
  return one_value(generate_, prompt);
}

PromptText PromptTemplate::qa(std::string_view document, std::string_view question) const {
  PromptText text;
  text.bos = bos_ ? bos_ : qa_.bos;
  append_literal(text.head, qa_.literals[0]);
  text.head.text += document;
  text.tail = qa_tail(question);
  return text;
}

PromptPiece PromptTemplate::qa_tail(std::string_view question) const {
  PromptPiece tail;
  append_literal(tail, qa_.literals[1]);
  tail.text += last_value(qa_, question);
  append_literal(tail, qa_.literals[2]);
  return tail;
}

}  // namespace dslad::worker
