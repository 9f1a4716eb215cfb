#include "worker/text/prompt.h"

#include <algorithm>
#include <array>
#include <exception>
#include <fmt/format.h>
#include <toml++/toml.h>
#include <utility>

#include "schema/nearest.h"

namespace dslad::worker {
namespace {

constexpr std::array<std::string_view, 5> kKeys = {"bos", "summarize", "qa", "generate", "stop"};
constexpr std::array<std::string_view, 1> kTables = {"prompt"};

// What a task asks for within a user's turn. A chat template says how a turn is written, not what to say.
constexpr std::string_view kSummarizeText = "Summarize the following text in a few sentences.\n\n";
constexpr std::string_view kQaText = "Read the text and answer the question with a few words from it.\n\n";
constexpr std::string_view kQuestion = "\n\nQuestion: ";

bool is_name_letter(char letter) {
  return (letter >= 'a' && letter <= 'z') || letter == '_';
}

// The name in text[at..] = "{name}...", empty when no placeholder stands there.
std::string_view placeholder_at(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  while (end < text.size() && is_name_letter(text[end])) ++end;
  const bool closed = end < text.size() && text[end] == '}';
  return closed ? text.substr(at + 1, end - at - 1) : std::string_view{};
}

}  // namespace

// Reads the [prompt] table into what holds without it; throws nothing, but toml++'s parser does: see read.
class PromptTemplate::Reader {
 public:
  static Result<PromptTemplate> read(std::string_view toml, std::string_view name, PromptTemplate base) {
    try {
      const toml::table document = toml::parse(toml, name);
      return Reader(document, name, std::move(base)).read_document();
    } catch (const toml::parse_error& error) {
      const auto place = error.source().begin;
      return Error{ErrorCode::kCorrupt, fmt::format("{}: malformed TOML at line {}, column {}: {}", name,
                                                    place.line, place.column, error.description())};
    } catch (const std::exception& error) {
      return Error{ErrorCode::kInternal, fmt::format("{}: {}", name, error.what())};
    }
  }

 private:
  Reader(const toml::table& document, std::string_view name, PromptTemplate base)
      : document_(document), name_(name), result_(std::move(base)) {}

  Result<PromptTemplate> read_document() {
    Status known = check_keys(document_, kTables);
    if (!known) return known.error();
    if (!document_.contains("prompt")) return result_;
    const toml::table* const prompt = document_["prompt"].as_table();
    if (prompt == nullptr) return problem("prompt must be a table: [prompt]");
    known = check_keys(*prompt, kKeys);
    if (!known) return known.error();
    for (const Status& read : {read_template(*prompt, "summarize", {"document"}, result_.summarize_),
                               read_template(*prompt, "qa", {"document", "question"}, result_.qa_),
                               read_template(*prompt, "generate", {"prompt"}, result_.generate_),
                               read_bos(*prompt), read_stop(*prompt)}) {
      if (!read) return read.error();
    }
    return result_;
  }

  [[nodiscard]] Error problem(std::string_view what) const {
    return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", name_, what)};
  }

  [[nodiscard]] Status check_keys(const toml::table& table, std::span<const std::string_view> known) const {
    for (const auto& [key, value] : table) {
      if (std::ranges::find(known, key.str()) == known.end()) {
        return problem(fmt::format("unknown key \"{}\"; did you mean \"{}\"?", key.str(),
                                   schema::nearest(key.str(), known)));
      }
    }
    return ok_status();
  }

  // Cuts the template at `names`, each of which it must have once, in that order.
  Status read_template(const toml::table& prompt, std::string_view key,
                       std::initializer_list<std::string_view> names, TaskTemplate& task) const {
    if (!prompt.contains(key)) return ok_status();
    const auto text = prompt[key].value_exact<std::string>();
    if (!text) return problem(fmt::format("{} must be a string", key));
    task = TaskTemplate{Literals(1), PromptOrigin::kSettings, std::nullopt, false};
    Literals& literals = task.literals;
    const auto* expected = names.begin();
    for (std::size_t at = 0; at < text->size(); ++at) {
      const std::string_view name = (*text)[at] == '{' ? placeholder_at(*text, at) : std::string_view{};
      if (name.empty()) {
        literals.back() += (*text)[at];
        continue;
      }
      if (expected == names.end() || name != *expected) return misplaced(key, name, names);
      ++expected;
      literals.emplace_back();
      at += name.size() + 1;
    }
    if (expected == names.end()) return ok_status();
    return problem(fmt::format("{} lacks {{{}}}", key, *expected));
  }

  [[nodiscard]] Error misplaced(std::string_view key, std::string_view name,
                                std::initializer_list<std::string_view> names) const {
    const std::span<const std::string_view> known(names.begin(), names.size());
    if (std::ranges::find(known, name) == known.end()) {
      return problem(fmt::format("{} has the unknown placeholder {{{}}}; did you mean {{{}}}?", key, name,
                                 schema::nearest(name, known)));
    }
    return problem(
        fmt::format("{}: {{{}}} must stand there once, and {{document}} before {{question}}", key, name));
  }

  Status read_bos(const toml::table& prompt) {
    if (!prompt.contains("bos")) return ok_status();
    result_.bos_ = prompt["bos"].value_exact<bool>();
    if (!result_.bos_) return problem("bos must be true or false");
    return ok_status();
  }

  Status read_stop(const toml::table& prompt) {
    if (!prompt.contains("stop")) return ok_status();
    const toml::array* const list = prompt["stop"].as_array();
    if (list == nullptr) return problem("stop must be a list of strings");
    for (const toml::node& node : *list) {
      const auto text = node.value_exact<std::string>();
      if (!text || text->empty()) return problem("stop must be a list of strings, none of them empty");
      result_.stop_.push_back(*text);
    }
    return ok_status();
  }

  const toml::table& document_;
  std::string name_;
  PromptTemplate result_;
};

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
  return Reader::read(toml, name, PromptTemplate());
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
  auto prompt = sources.settings ? Reader::read(*sources.settings, sources.settings_name, std::move(base))
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

Result<std::vector<TokenId>> encode_head(const Tokenizer& tokenizer, const PromptText& text) {
  const std::optional<TokenId> bos = tokenizer.special().bos;
  const bool wanted = text.bos.value_or(tokenizer.special().adds_bos);
  if (wanted && !bos) {
    return Error{
        ErrorCode::kInvalidArgument,
        "dslad.toml asks for bos, but neither the tokenizer nor config.json names one; set bos = false"};
  }
  auto ids = tokenizer.encode(text.head.text, TextPosition::kBeginning, text.head.from_template);
  if (!ids || !wanted) return ids;
  // A template copied from elsewhere often names bos itself: a model was never shown two of them.
  const auto& named = text.head.from_template;
  const bool has_it = !named.empty() && named.front().begin == 0 && !ids->empty() && ids->front() == *bos;
  if (!has_it) ids->insert(ids->begin(), *bos);
  return ids;
}

Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptText& text) {
  return encode_tail(tokenizer, text.tail, text.head.text.empty());
}

Result<std::vector<TokenId>> encode_tail(const Tokenizer& tokenizer, const PromptPiece& tail,
                                         bool head_empty) {
  return tokenizer.encode(tail.text, head_empty ? TextPosition::kBeginning : TextPosition::kContinuation,
                          tail.from_template);
}

TextPosition position_after(const PromptText& text) {
  return text.empty() ? TextPosition::kBeginning : TextPosition::kContinuation;
}

}  // namespace dslad::worker
