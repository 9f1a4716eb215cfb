#include <algorithm>
#include <array>
#include <exception>
#include <fmt/format.h>
#include <initializer_list>
#include <toml++/toml.h>
#include <utility>

#include "base/nearest.h"
#include "worker/text/prompt.h"

namespace dslad::worker {
namespace {

constexpr std::array<std::string_view, 5> kKeys = {"bos", "summarize", "qa", "generate", "stop"};
constexpr std::array<std::string_view, 1> kTables = {"prompt"};

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

// Reads the [prompt] table into what holds without it; throws nothing, but toml++'s parser does: see
// read_settings.
class PromptTemplate::Reader {
 public:
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

 private:
  [[nodiscard]] Error problem(std::string_view what) const {
    return {ErrorCode::kInvalidArgument, fmt::format("{}: {}", name_, what)};
  }

  [[nodiscard]] Status check_keys(const toml::table& table, std::span<const std::string_view> known) const {
    for (const auto& [key, value] : table) {
      if (std::ranges::find(known, key.str()) == known.end()) {
        return problem(
            fmt::format("unknown key \"{}\"; did you mean \"{}\"?", key.str(), nearest(key.str(), known)));
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
                                 nearest(name, known)));
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

Result<PromptTemplate> PromptTemplate::read_settings(std::string_view toml, std::string_view name,
                                                     PromptTemplate base) {
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

}  // namespace dslad::worker
