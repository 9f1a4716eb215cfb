#include "worker/text/template_condition.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>
#include <utility>
#include <vector>

namespace dslad::worker {
namespace {

using Kind = TemplateValue::Kind;
using WordSpan = std::span<const std::string_view>;

constexpr int kMaxNesting = 16;

bool of_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Names, numbers, quoted texts with their quotes, "==", "!=", and single characters.
std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t size = 1;
    if (text[at] == '\'' || text[at] == '"') {
      while (at + size < text.size() && text[at + size] != text[at]) size += text[at + size] == '\\' ? 2 : 1;
      size = std::min(size + 1, text.size() - at);
    } else if (of_name(text[at])) {
      while (at + size < text.size() && of_name(text[at + size])) ++size;
    } else if (text.substr(at).starts_with("==") || text.substr(at).starts_with("!=")) {
      size = 2;
    }
    if (std::isspace(static_cast<unsigned char>(text[at])) == 0) words.push_back(text.substr(at, size));
    at += size;
  }
  return words;
}

// The first `word` outside of brackets; the size of `words` where there is none.
std::size_t find_outside(WordSpan words, std::string_view word) {
  int depth = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (depth == 0 && words[i] == word) return i;
    if (words[i] == "(" || words[i] == "[" || words[i] == "{") ++depth;
    if (words[i] == ")" || words[i] == "]" || words[i] == "}") --depth;
  }
  return words.size();
}

// "text", 'text'; nothing for what needs escapes.
std::optional<std::string_view> quoted(std::string_view word) {
  const bool whole = word.size() >= 2 && (word.front() == '\'' || word.front() == '"') &&
                     word.back() == word.front() && word.find('\\') == std::string_view::npos;
  return whole ? std::optional(word.substr(1, word.size() - 2)) : std::nullopt;
}

// message.role, messages[0]['role'], ...: the parts behind the message; nothing where it is no message's.
std::optional<std::vector<std::string_view>> parts_of_message(WordSpan words, const TemplateNames& names) {
  constexpr std::array<std::string_view, 2> kList = {"messages", "loop_messages"};
  std::size_t at = 1;
  if (words.empty()) return std::nullopt;
  if (std::ranges::find(kList, words[0]) != kList.end()) {
    if (words.size() < 4 || words[1] != "[" || words[2] != "0" || words[3] != "]") return std::nullopt;
    at = 4;
  } else if (names.value_of(words[0]).kind != Kind::kMessage) {
    return std::nullopt;
  }
  std::vector<std::string_view> parts;
  while (at < words.size()) {
    const bool named = words[at] == "." && at + 1 < words.size() && of_name(words[at + 1].front());
    const bool indexed = words[at] == "[" && at + 2 < words.size() && words[at + 2] == "]";
    const auto key = indexed ? quoted(words[at + 1]) : std::nullopt;
    if (!named && !key) return std::nullopt;
    parts.push_back(named ? words[at + 1] : *key);
    at += named ? 2 : 3;
  }
  return parts;
}

std::optional<bool> truth(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::kTrue:
      return true;
    case Kind::kFalse:
    case Kind::kNone:
    case Kind::kUndefined:
      return false;
    case Kind::kText:
      return !value.text.empty();
    case Kind::kUnknown:
    case Kind::kContent:
    case Kind::kMessage:
      break;
  }
  return std::nullopt;
}

std::optional<bool> negated(std::optional<bool> value) {
  return value ? std::optional(!*value) : std::nullopt;
}

class Condition {
 public:
  explicit Condition(const TemplateNames& names) : names_(names) {}

  [[nodiscard]] std::optional<bool> read(WordSpan words, int depth) const {
    if (words.empty() || depth > kMaxNesting || find_outside(words, "if") < words.size()) return std::nullopt;
    for (const bool any : {true, false}) {
      const std::string_view word = any ? "or" : "and";
      if (find_outside(words, word) < words.size()) return joined(words, word, any, depth);
    }
    if (words[0] == "not") return negated(read(words.subspan(1), depth + 1));
    const bool enclosed = words[0] == "(" && find_closing(words) + 1 == words.size();
    if (enclosed) return read(words.subspan(1, words.size() - 2), depth + 1);
    return comparison(words);
  }

 private:
  // a or b or c: `decisive` where one part is.
  [[nodiscard]] std::optional<bool> joined(WordSpan words, std::string_view word, bool decisive,
                                           int depth) const {
    bool unknown = false;
    while (true) {
      const std::size_t end = find_outside(words, word);
      const auto part = read(words.first(end), depth + 1);
      if (part == decisive) return decisive;
      unknown = unknown || !part;
      if (end == words.size()) return unknown ? std::nullopt : std::optional(!decisive);
      words = words.subspan(end + 1);
    }
  }

  static std::size_t find_closing(WordSpan words) {
    int depth = 0;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == "(") ++depth;
      if (words[i] == ")" && --depth == 0) return i;
    }
    return words.size();
  }

  [[nodiscard]] std::optional<bool> comparison(WordSpan words) const {
    for (const std::string_view word : {"is", "in", "==", "!="}) {
      const std::size_t at = find_outside(words, word);
      if (at == words.size()) continue;
      WordSpan left = words.first(at), right = words.subspan(at + 1);
      bool turned = word == "!=";
      if (word == "is" && !right.empty() && right[0] == "not") {
        turned = true;
        right = right.subspan(1);
      } else if (word == "in" && !left.empty() && left.back() == "not") {
        turned = true;
        left = left.first(left.size() - 1);
      }
      const auto result = word == "is"   ? test(value(left), right)
                          : word == "in" ? contains(value(left), right)
                                         : equal(value(left), value(right));
      return turned ? negated(result) : result;
    }
    return truth(value(words));
  }

  static std::optional<bool> test(const TemplateValue& value, WordSpan name) {
    if (name.size() != 1 || value.kind == Kind::kUnknown || value.kind == Kind::kMessage) return std::nullopt;
    const bool text = value.kind == Kind::kText || value.kind == Kind::kContent;
    if (name[0] == "defined") return value.kind != Kind::kUndefined;
    if (name[0] == "undefined") return value.kind == Kind::kUndefined;
    if (name[0] == "string") return text;
    if (name[0] == "mapping") return false;
    const auto constant = template_constant(name[0]);
    return constant ? std::optional(constant->kind == value.kind) : std::nullopt;
  }

  static std::optional<bool> equal(const TemplateValue& a, const TemplateValue& b) {
    const auto open = [](const TemplateValue& value) {
      return value.kind == Kind::kUnknown || value.kind == Kind::kContent || value.kind == Kind::kMessage;
    };
    if (open(a) || open(b)) return std::nullopt;
    return a.kind == b.kind && a.text == b.text;
  }

  // `key` in a list that is written out, in a text, in a message.
  [[nodiscard]] std::optional<bool> contains(const TemplateValue& key, WordSpan holder) const {
    if (key.kind != Kind::kText) return std::nullopt;
    if (holder.size() >= 2 && holder.front() == "[" && holder.back() == "]") {
      for (std::size_t i = 1; i + 1 < holder.size(); i += 2) {
        const auto entry = quoted(holder[i]);
        if (!entry || (holder[i + 1] != "," && i + 2 != holder.size())) return std::nullopt;
        if (*entry == key.text) return true;
      }
      return false;
    }
    const auto parts = parts_of_message(holder, names_);
    if (parts && parts->empty()) return key.text == "role" || key.text == "content";
    const TemplateValue whole = value(holder);
    if (whole.kind == Kind::kUndefined) return false;
    if (whole.kind == Kind::kText) return whole.text.find(key.text) != std::string::npos;
    return std::nullopt;
  }

  [[nodiscard]] TemplateValue value(WordSpan words) const {
    if (const auto parts = parts_of_message(words, names_)) {
      if (parts->size() != 1) return {};
      if (parts->front() == "role") return {Kind::kText, "user"};
      return {parts->front() == "content" ? Kind::kContent : Kind::kUndefined};
    }
    if (words.size() != 1) return {};
    if (const auto text = quoted(words[0])) return {Kind::kText, std::string(*text)};
    const char first = words[0].front();
    if (!of_name(first) || std::isdigit(static_cast<unsigned char>(first)) != 0) return {};
    return names_.value_of(words[0]);
  }

  const TemplateNames& names_;
};

}  // namespace

std::optional<TemplateValue> template_constant(std::string_view name) {
  if (name == "true" || name == "True") return TemplateValue{Kind::kTrue};
  if (name == "false" || name == "False") return TemplateValue{Kind::kFalse};
  if (name == "none" || name == "None") return TemplateValue{Kind::kNone};
  return std::nullopt;
}

void TemplateNames::assign(std::string_view name, TemplateValue value, bool surely) {
  assigned_.insert_or_assign(std::string(name), surely ? std::move(value) : TemplateValue{});
}

TemplateValue TemplateNames::value_of(std::string_view name) const {
  if (const auto constant = template_constant(name)) return *constant;
  if (const auto found = assigned_.find(name); found != assigned_.end()) return found->second;
  if (name == "message") return {Kind::kMessage};
  if (name == "add_generation_prompt") return {Kind::kTrue};
  if (name == "enable_thinking") return {Kind::kFalse};
  if (name == "tools" || name == "documents") return {Kind::kNone};
  constexpr std::array<std::string_view, 7> kThings = {"messages", "loop", "namespace",      "range",
                                                       "dict",     "self", "raise_exception"};
  const bool unknown = std::ranges::find(kThings, name) != kThings.end() || name.ends_with("_token") ||
                       name.ends_with("_tokens");
  return {unknown ? Kind::kUnknown : Kind::kUndefined};
}

std::optional<bool> holds(std::string_view condition, const TemplateNames& names) {
  return Condition(names).read(words_of(condition), 0);
}

std::optional<std::string> fixed_date(std::string_view format) {
  constexpr std::array<std::pair<char, std::string_view>, 8> kParts = {{{'d', "08"},
                                                                        {'m', "07"},
                                                                        {'Y', "2025"},
                                                                        {'y', "25"},
                                                                        {'B', "July"},
                                                                        {'b', "Jul"},
                                                                        {'A', "Tuesday"},
                                                                        {'a', "Tue"}}};
  std::string date;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      date += format[i];
      continue;
    }
    ++i;
    const auto* const part = std::ranges::find_if(
        kParts, [&](const auto& known) { return i < format.size() && known.first == format[i]; });
    if (part == kParts.end()) return std::nullopt;
    date += part->second;
  }
  return date;
}

}  // namespace dslad::worker
