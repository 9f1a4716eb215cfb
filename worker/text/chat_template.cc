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
constexpr std::string_view kBetweenTexts = " \t\r\n\x07";  // what writes nothing: blanks, ends of branches

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
  Recogniser(std::string_view jinja, const TemplateTokens& tokens)
      : jinja_(jinja), tokens_(tokens), outline_(outline_of(jinja)), all_(outline_.output) {
    for (const auto& [name, value] : outline_.assignments) all_ += Mark::kOther + value;
  }

  Result<ChatFormat> recognise() {
    std::string why = "it is of no kind that dslad knows";
    for (const ChatKind& row : chat_kinds()) {
      const std::size_t user = find_outline(all_, row.user);
      if (user == std::string::npos || !has(row.needs)) continue;
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
  [[nodiscard]] bool has(std::string_view text) const {
    return jinja_.find(text) != std::string::npos || find_outline(all_, text) != std::string::npos;
  }

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
    if (writes_more_behind(row, opening)) return no("it writes more behind the user's turn than dslad knows");
    format.system = *std::move(system);

    std::string block;
    if (!format.system.empty()) {
      block = std::string(row.system_before) + format.system + std::string(row.system_after);
    }
    const std::string turn = named_role(row.user.substr(0, content));
    format.before = row.place == SystemPlace::kInUserTurn ? turn + block : block + turn;
    format.after = std::string(row.user.substr(content + 1)) + std::string(opening);
    for (std::string* const text : {&format.before, &format.after}) {
      if (text->find(Mark::kEos) == std::string::npos) continue;
      if (tokens_.eos.empty()) return no("the tokenizer names no end-of-sequence token, which it needs");
      *text = replaced(*text, std::string(1, Mark::kEos), tokens_.eos);
    }
    if (!row.ends.empty()) format.ends.emplace_back(row.ends);
    const Status known = check_names(row, format);
    if (!known) return known.error();
    format.bos = begins_with_bos(format);
    return format;
  }

  // Between the user's turn and what opens the answer; the ends of tools' turns do not count.
  [[nodiscard]] bool writes_more_behind(const ChatKind& row, std::string_view opening) const {
    const std::size_t turn = find_outline(outline_.output, row.user);
    if (turn == std::string::npos) return false;
    std::string behind = outline_.output.substr(turn + row.user.size());
    const std::size_t end = opening.empty() ? behind.size() : behind.rfind(opening);
    if (end == std::string::npos) return true;
    behind.resize(end);
    const std::string whole = behind;
    for (const std::string_view name : control_names(whole)) {
      if (is_of_tools(name)) behind = replaced(behind, name, "");
    }
    return behind.find_first_not_of(kBetweenTexts) != std::string::npos;
  }

  static std::string named_role(std::string_view text) {
    return replaced(std::string(text), std::string(1, Mark::kRole), "user");
  }

  // Every control name of the template is one of the row's, and is a token where the row needs that.
  [[nodiscard]] Status check_names(const ChatKind& row, const ChatFormat& format) const {
    std::set<std::string_view> known;
    for (const std::string_view text :
         {std::string_view(format.before), std::string_view(format.after), row.ends, row.system_before,
          row.system_after, std::string_view(tokens_.eos)}) {
      for (const std::string_view name : control_names(text)) known.insert(name);
    }
    for (const std::string_view name : known) {
      if (row.named && !tokens_.known(name)) {
        return no(fmt::format("{} is no token of this tokenizer", name));
      }
    }
    for (const auto& [name, value] : outline_.assignments) {
      constexpr std::array<std::string_view, 6> kRoles = {"user",   "assistant", "model",
                                                          "system", "tool",      "ipython"};
      const bool literal = std::ranges::none_of(value, is_outline_mark);
      if (name == "role" && literal && std::ranges::find(kRoles, value) == kRoles.end()) {
        return no(fmt::format("it calls a role {}", value));
      }
    }
    for (const std::string_view name : control_names(all_)) {
      const bool is_bos = !tokens_.bos.empty() && tokens_.bos == name;
      if (!known.contains(name) && !is_bos && !is_of_tools(name))
        return no(fmt::format("it has {} too", printed(name)));
    }
    return ok_status();
  }

  static std::string printed(std::string_view name) {
    std::string text;
    for (const char c : name) text += is_outline_mark(c) ? std::string("...") : std::string(1, c);
    return text;
  }

  // Whether the template writes bos in front; by its name where the turn does not begin with that anyway.
  [[nodiscard]] bool begins_with_bos(const ChatFormat& format) const {
    if (tokens_.bos.empty()) return false;
    if (all_.find(Mark::kBos) != std::string::npos) return true;
    return outline_.output.starts_with(tokens_.bos) && !format.before.starts_with(tokens_.bos);
  }

  // The message that the template states for a conversation without one; empty: none. One that has a part
  // which is not known is refused, as is any other text before the user's turn.
  [[nodiscard]] Result<std::string> system_message(const ChatKind& row) const {
    std::set<std::string> found;
    for (const auto& [name, value] : outline_.assignments) {
      const bool system = name.ends_with("system_message") || name.ends_with("system_prompt") ||
                          name.ends_with("default_system");
      if (system && !all_blank(value)) found.insert(value);
    }
    std::string front = in_front(row);
    if (row.place == SystemPlace::kOwnTurn) {
      take_turns(row, front, found);
      for (const auto& [name, value] : outline_.assignments) {
        std::string assigned = value;
        take_turns(row, assigned, found);
      }
    }
    if (row.place == SystemPlace::kInFront) {
      take_texts(front, found);
    } else if (front.find_first_not_of(kBetweenTexts) != std::string::npos) {
      return no("it writes more before the user's turn than dslad knows");
    }
    if (found.empty()) return std::string();
    const bool unknown = std::ranges::any_of(
        found, [](const std::string& text) { return std::ranges::any_of(text, is_outline_mark); });
    if (unknown) return no("its system message has a part that depends on more than dslad knows");
    if (found.size() > 1) return no("it states more than one system message");
    if (row.place == SystemPlace::kNowhere)
      return no("it states a system message, which dslad does not place there");
    if (found.begin()->size() > kMaxSystemBytes) return no("its system message is too long");
    return *found.begin();
  }

  // What stands before the user's turn, without bos and its name; nothing where that turn is in no output.
  [[nodiscard]] std::string in_front(const ChatKind& row) const {
    const std::size_t size = find_outline(outline_.output, row.user);
    if (size == std::string::npos) return {};
    std::string front = outline_.output.substr(0, size);
    std::erase(front, Mark::kBos);
    const std::string_view name = tokens_.bos;
    const bool named = !name.empty() && front.starts_with(name);
    if (named && (row.system_before.empty() || !front.starts_with(row.system_before)))
      front.erase(0, name.size());
    return front;
  }

  // Takes <|im_start|>system\n ... <|im_end|>\n out of a text; one without an end goes on to the text's end.
  static void take_turns(const ChatKind& row, std::string& text, std::set<std::string>& found) {
    const std::string_view before = row.system_before, after = row.system_after;
    for (std::size_t at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
      const std::size_t begin = at + before.size();
      const std::size_t end = after.empty() ? text.size() : text.find(after, begin);
      const bool whole = end != std::string::npos && end > begin;
      found.insert(whole ? text.substr(begin, end - begin) : std::string(1, Mark::kOther));
      text.erase(at, whole ? end + after.size() - at : std::string::npos);
    }
  }

  // The texts of a text's branches. A branch that is a variable alone is one for a message of the user's own.
  static void take_texts(std::string_view text, std::set<std::string>& found) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find(Mark::kBranch), text.size());
      const std::string_view branch = text.substr(0, end);
      const bool variable = std::ranges::all_of(
          branch, [](char c) { return is_outline_mark(c) || all_blank(std::string_view(&c, 1)); });
      if (!variable) found.emplace(branch);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }

  std::string_view jinja_;
  const TemplateTokens& tokens_;
  TemplateOutline outline_;
  std::string all_;  // the output and what is assigned
};

}  // namespace

Result<ChatFormat> recognise_chat_template(std::string_view jinja, const TemplateTokens& tokens) {
  return Recogniser(jinja, tokens).recognise();
}

Result<ChatFormat> recognise_chat_template(std::string_view jinja, const Tokenizer& tokenizer) {
  const auto name = [&](std::optional<TokenId> id) {
    return std::string(id ? tokenizer.name_of(*id) : std::string_view{});
  };
  const auto known = [&](std::string_view token) { return tokenizer.token_named(token).has_value(); };
  return recognise_chat_template(jinja,
                                 {name(tokenizer.special().bos), name(tokenizer.special().eos), known});
}

std::set<std::string, std::less<>> control_tokens(std::string_view jinja, std::string_view bos,
                                                  std::string_view eos) {
  std::set<std::string, std::less<>> names;
  const auto any = [](std::string_view) { return true; };
  const auto format = recognise_chat_template(jinja, {std::string(bos), std::string(eos), any});
  if (format) {
    for (const std::string_view text : {std::string_view(format->before), std::string_view(format->after)}) {
      for (const std::string_view name : control_names(text)) names.emplace(name);
    }
    names.insert(format->ends.begin(), format->ends.end());
  }
  for (const std::string_view name : {bos, eos}) {
    if (!name.empty()) names.emplace(name);
  }
  return names;
}

}  // namespace dslad::worker
