#include "worker/text/chat_template.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <optional>
#include <set>

#include "worker/text/chat_kinds.h"
#include "worker/text/template_outline.h"

namespace dslad::worker {
namespace {

using Mark = OutlineMark;

constexpr std::size_t kMaxSystemBytes = 16 << 10;

bool same(char wanted, char found) {
  return wanted == found || (wanted == Mark::kContent && found == Mark::kTrimmed);
}

// Where `text` has `wanted`; a trimmed content is a content.
std::size_t find_outline(std::string_view text, std::string_view wanted) {
  const auto found = std::search(text.begin(), text.end(), wanted.begin(), wanted.end(),
                                 [](char in_text, char in_wanted) { return same(in_wanted, in_text); });
  return found == text.end() ? std::string_view::npos : static_cast<std::size_t>(found - text.begin());
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

bool all_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

bool is_variable(char c) {
  return c >= Mark::kRole && c <= Mark::kOther;
}

// "<|name|>" and its like, "[NAME]", "[/NAME]", "<<NAME>>", "<start_of_turn>": what looks like control.
std::vector<std::string_view> control_names(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kBrackets = {
      {{"<|", "|>"}, {"<\uFF5C", "\uFF5C>"}, {"<<", ">>"}, {"[", "]"}}};
  constexpr std::size_t kLongest = 48;
  std::vector<std::string_view> names;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::string_view rest = text.substr(at, kLongest);
    for (const auto& [open, close] : kBrackets) {
      if (!rest.starts_with(open)) continue;
      const std::size_t end = rest.find(close, open.size());
      if (end == std::string_view::npos || end == open.size()) continue;
      const std::string_view inner = rest.substr(open.size(), end - open.size());
      const bool upper = std::ranges::all_of(
          inner, [](unsigned char c) { return std::isupper(c) != 0 || c == '_' || c == '/'; });
      if (inner.find_first_of(" \n<>[]\"'") == std::string_view::npos && (open != "[" || upper)) {
        names.push_back(rest.substr(0, end + close.size()));
      }
    }
    for (const std::string_view turn : {"<start_of_turn>", "<end_of_turn>"}) {
      if (rest.starts_with(turn)) names.push_back(turn);
    }
  }
  return names;
}

// Tokens of calls of tools, which dslad never makes: they do not change a plain turn.
bool is_of_tools(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const std::string_view word : {"tool", "python_tag", "eom_id"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  return false;
}

class Recogniser {
 public:
  Recogniser(std::string_view jinja, const Tokenizer& tokenizer)
      : tokenizer_(tokenizer), outline_(outline_of(jinja)), all_(outline_.output) {
    for (const auto& [name, value] : outline_.assignments) all_ += Mark::kOther + value;
  }

  Result<ChatFormat> recognise() {
    std::string why = "it is of no kind that dslad knows";
    for (const ChatKind& row : chat_kinds()) {
      const std::size_t user = find_outline(all_, row.user);
      if (user == std::string::npos || find_outline(all_, row.needs) == std::string::npos) continue;
      const auto opening = opening_of(row);
      if (!opening) continue;
      auto format = fill(row, *opening, user);
      if (format.ok()) return format;
      why = fmt::format("it looks like {}, but {}", row.name, format.error().message);
      break;
    }
    return Error{ErrorCode::kInvalidArgument, why};
  }

 private:
  static Error no(std::string why) { return {ErrorCode::kInvalidArgument, std::move(why)}; }

  // What opens the answer; empty where the user's turn has it.
  [[nodiscard]] std::optional<std::string_view> opening_of(const ChatKind& row) const {
    if (row.openings[0].empty()) return std::string_view{};
    std::string_view output = outline_.output;
    if (!row.behind.empty() && output.ends_with(row.behind)) output.remove_suffix(row.behind.size());
    for (const std::string_view opening : row.openings) {
      if (!opening.empty() && output.ends_with(opening)) return opening;
    }
    return std::nullopt;
  }

  Result<ChatFormat> fill(const ChatKind& row, std::string_view opening, std::size_t user) const {
    ChatFormat format;
    format.kind = row.name;
    const std::size_t content = row.user.find(Mark::kContent);
    format.trims = all_[user + content] == Mark::kTrimmed;
    auto system = system_message(row);
    if (!system) return system.error();
    format.system = *std::move(system);

    std::string block;
    if (!format.system.empty()) {
      block = std::string(row.system_before) + format.system + std::string(row.system_after);
    }
    const std::string turn = named_role(row.user.substr(0, content));
    format.before = row.place == SystemPlace::kInUserTurn ? turn + block : block + turn;
    format.after = std::string(row.user.substr(content + 1)) + std::string(opening);
    const std::optional<TokenId> eos = tokenizer_.special().eos;
    const std::string eos_name(eos ? tokenizer_.name_of(*eos) : std::string_view{});
    for (std::string* const text : {&format.before, &format.after}) {
      if (text->find(Mark::kEos) == std::string::npos) continue;
      if (eos_name.empty()) return no("the tokenizer names no end-of-sequence token, which it needs");
      *text = replaced(*text, std::string(1, Mark::kEos), eos_name);
    }
    if (!row.ends.empty()) format.ends.emplace_back(row.ends);
    const Status known = check_names(row, format, eos_name);
    if (!known) return known.error();
    format.bos = begins_with_bos(format);
    return format;
  }

  static std::string named_role(std::string_view text) {
    return replaced(std::string(text), std::string(1, Mark::kRole), "user");
  }

  // Every control name of the template is one of the row's, and is a token where the row needs that.
  [[nodiscard]] Status check_names(const ChatKind& row, const ChatFormat& format,
                                   std::string_view eos_name) const {
    std::set<std::string_view> known;
    for (const std::string_view text : {std::string_view(format.before), std::string_view(format.after),
                                        row.ends, row.system_before, row.system_after, eos_name}) {
      for (const std::string_view name : control_names(text)) known.insert(name);
    }
    for (const std::string_view name : known) {
      if (row.named && !tokenizer_.token_named(name)) {
        return no(fmt::format("{} is no token of this tokenizer", name));
      }
    }
    for (const auto& [name, value] : outline_.assignments) {
      constexpr std::array<std::string_view, 6> kRoles = {"user",   "assistant", "model",
                                                          "system", "tool",      "ipython"};
      const bool literal = std::ranges::none_of(value, is_variable);
      if (name == "role" && literal && std::ranges::find(kRoles, value) == kRoles.end()) {
        return no(fmt::format("it calls a role {}", value));
      }
    }
    const std::optional<TokenId> bos = tokenizer_.special().bos;
    for (const std::string_view name : control_names(all_)) {
      const bool is_bos = bos && tokenizer_.name_of(*bos) == name;
      if (!known.contains(name) && !is_bos && !is_of_tools(name))
        return no(fmt::format("it has {} too", printed(name)));
    }
    return ok_status();
  }

  static std::string printed(std::string_view name) {
    std::string text;
    for (const char c : name) text += is_variable(c) ? std::string("...") : std::string(1, c);
    return text;
  }

  // Whether the template writes bos in front; by its name where the turn does not begin with that anyway.
  [[nodiscard]] bool begins_with_bos(const ChatFormat& format) const {
    const std::optional<TokenId> bos = tokenizer_.special().bos;
    if (!bos) return false;
    if (all_.find(Mark::kBos) != std::string::npos) return true;
    const std::string_view name = tokenizer_.name_of(*bos);
    return !name.empty() && outline_.output.starts_with(name) && !format.before.starts_with(name);
  }

  // The message that the template states for a conversation without one; empty: none.
  [[nodiscard]] Result<std::string> system_message(const ChatKind& row) const {
    if (row.needs == kDatedSystem) return dated_message();
    std::set<std::string> found;
    for (const auto& [name, value] : outline_.assignments) {
      const bool system = name.ends_with("system_message") || name.ends_with("system_prompt") ||
                          name.ends_with("default_system");
      if (system && !all_blank(value) && std::ranges::none_of(value, is_variable)) found.insert(value);
    }
    if (row.place == SystemPlace::kOwnTurn) find_turns(row, found);
    if (row.place == SystemPlace::kInFront) find_in_front(row, found);
    if (found.empty()) return std::string();
    if (found.size() > 1) return no("it states more than one system message");
    if (row.place == SystemPlace::kNowhere)
      return no("it states a system message, which dslad does not place there");
    if (found.begin()->size() > kMaxSystemBytes) return no("its system message is too long");
    return *found.begin();
  }

  // <|im_start|>system\n ... <|im_end|>\n, written out.
  void find_turns(const ChatKind& row, std::set<std::string>& found) const {
    for (std::size_t at = all_.find(row.system_before); at != std::string::npos;
         at = all_.find(row.system_before, at + 1)) {
      const std::size_t begin = at + row.system_before.size();
      const std::size_t end = all_.find(row.system_after, begin);
      if (end == std::string::npos) return;
      const std::string_view text = std::string_view(all_).substr(begin, end - begin);
      if (!text.empty() && std::ranges::none_of(text, is_variable)) found.emplace(text);
    }
  }

  // Texts in front of the first turn.
  void find_in_front(const ChatKind& row, std::set<std::string>& found) const {
    const std::string_view turn = row.user.substr(0, row.user.find(Mark::kContent));
    const std::string_view front = std::string_view(outline_.output).substr(0, outline_.output.find(turn));
    std::string text;
    const auto end_text = [&] {
      if (!all_blank(text)) found.insert(text);
      text.clear();
    };
    for (std::size_t i = 0; i < front.size(); ++i) {
      if (is_variable(front[i]) || std::ranges::binary_search(outline_.breaks, i)) end_text();
      if (!is_variable(front[i])) text += front[i];
    }
    end_text();
  }

  // Llama 3.1's, with the date that the template itself states: today's would make answers differ by the day.
  [[nodiscard]] Result<std::string> dated_message() const {
    for (const auto& [name, value] : outline_.assignments) {
      if (name == "date_string" && !value.empty() && std::ranges::none_of(value, is_variable)) {
        return std::string(kDatedSystem) + value + "\n\n";
      }
    }
    return no("it states no date");
  }

  const Tokenizer& tokenizer_;
  TemplateOutline outline_;
  std::string all_;  // the output and what is assigned
};

}  // namespace

Result<ChatFormat> recognise_chat_template(std::string_view jinja, const Tokenizer& tokenizer) {
  return Recogniser(jinja, tokenizer).recognise();
}

}  // namespace dslad::worker
