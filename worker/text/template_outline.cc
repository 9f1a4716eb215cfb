#include "worker/text/template_outline.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace dslad::worker {
namespace {

constexpr int kMaxDepth = 16;  // of parentheses

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Text that a template writes: bytes that are marks here are none there.
std::string as_text(std::string_view text) {
  std::string copy(text);
  std::ranges::replace_if(
      copy, [](char c) { return c >= OutlineMark::kRole && c <= OutlineMark::kOther; }, OutlineMark::kOther);
  return copy;
}

// An expression, as far as it is a sum of texts and variables.
class Expression {
 public:
  explicit Expression(std::string_view text) : text_(text) {}

  // The whole expression, kOther where it is anything else.
  std::string read() {
    std::optional<std::string> sum = read_sum(0);
    skip_blanks();
    if (!sum || at_ < text_.size()) return {OutlineMark::kOther};
    return *std::move(sum);
  }

 private:
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  bool take(char c) {
    skip_blanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string_view take_word() {
    skip_blanks();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  std::optional<std::string> read_sum(int depth) {
    std::string sum;
    do {
      const auto term = read_term(depth);
      if (!term) return std::nullopt;
      sum += *term;
    } while (take('+') || take('~'));
    return sum;
  }

  // A text, a variable or a sum in parentheses, with filters behind it.
  std::optional<std::string> read_term(int depth) {
    skip_blanks();
    if (at_ == text_.size() || depth > kMaxDepth) return std::nullopt;
    std::optional<std::string> term;
    if (text_[at_] == '\'' || text_[at_] == '"') {
      term = read_text();
    } else if (take('(')) {
      term = read_sum(depth + 1);
      if (!take(')')) return std::nullopt;
    } else if (is_word(text_[at_])) {
      term = read_variable();
    }
    while (term && take('|')) term = filtered(*term, take_word());
    return term;
  }

  static std::string filtered(const std::string& term, std::string_view filter) {
    const bool content =
        term.size() == 1 && (term[0] == OutlineMark::kContent || term[0] == OutlineMark::kTrimmed);
    if (filter != "trim" || term.empty()) return {OutlineMark::kOther};
    if (content) return {OutlineMark::kTrimmed};
    return term == std::string(1, OutlineMark::kBos) ? term : std::string{OutlineMark::kOther};
  }

  std::optional<std::string> read_text() {
    const char quote = text_[at_++];
    std::string text;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] != '\\' || at_ + 1 == text_.size()) {
        text += text_[at_];
        continue;
      }
      const char escaped = text_[++at_];
      const std::string_view plain = "nt'\"\\r", meant = "\n\t'\"\\\r";
      const std::size_t known = plain.find(escaped);
      if (known == std::string_view::npos) text += '\\';
      text += known == std::string_view::npos ? escaped : meant[known];
    }
    if (at_ == text_.size()) return std::nullopt;
    ++at_;
    return as_text(text);
  }

  // name, name.part, name['part'], name[0], and calls of strip() without arguments.
  std::optional<std::string> read_variable() {
    std::string_view last = take_word();
    bool stripped = false, strange = false;
    while (at_ < text_.size()) {
      if (take('.')) {
        const std::string_view part = take_word();
        if (part.empty()) return std::nullopt;
        if (!take('(')) {
          last = part;
          continue;
        }
        strange = strange || part != "strip";
        stripped = true;
        if (!skip_to(')')) return std::nullopt;
      } else if (take('[')) {
        skip_blanks();
        const std::size_t begin = at_;
        if (!skip_to(']')) return std::nullopt;
        const std::string_view index = text_.substr(begin, at_ - 1 - begin);
        const bool named = index.size() > 2 && (index.front() == '\'' || index.front() == '"');
        last = named ? index.substr(1, index.size() - 2) : std::string_view("[]");
      } else if (take('(')) {
        strange = true;
        if (!skip_to(')')) return std::nullopt;
      } else {
        break;
      }
      if (!stripped) continue;
      skip_blanks();
      const bool goes_on =
          at_ < text_.size() && (text_[at_] == '.' || text_[at_] == '[' || text_[at_] == '(');
      strange = strange || goes_on;
    }
    return std::string(1, mark_of(last, stripped, strange));
  }

  static char mark_of(std::string_view name, bool stripped, bool strange) {
    if (strange) return OutlineMark::kOther;
    if (name == "content") return stripped ? OutlineMark::kTrimmed : OutlineMark::kContent;
    if (stripped) return OutlineMark::kOther;
    if (name == "role") return OutlineMark::kRole;
    if (name == "bos_token") return OutlineMark::kBos;
    if (name == "eos_token") return OutlineMark::kEos;
    return OutlineMark::kOther;
  }

  // Behind the bracket that closes what is open here; quotes hide brackets.
  bool skip_to(char closing) {
    const char opening = closing == ')' ? '(' : '[';
    int open = 1;
    char quote = 0;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (quote != 0) {
        if (c == '\\') ++at_;
        if (c == quote) quote = 0;
      } else if (c == '\'' || c == '"') {
        quote = c;
      } else if (c == opening) {
        ++open;
      } else if (c == closing && --open == 0) {
        ++at_;
        return true;
      }
    }
    at_ = text_.size();
    return false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// Whether a condition holds for calls of tools alone: "tools", "tools is not none and ...".
bool needs_tools(std::string_view condition) {
  for (const std::string_view prefix : {"builtin_", "custom_"}) {
    if (condition.starts_with(prefix)) condition.remove_prefix(prefix.size());
  }
  if (!condition.starts_with("tools") || condition.find(" or ") != std::string_view::npos) return false;
  condition.remove_prefix(std::string_view("tools").size());
  for (const std::string_view test : {" is defined", " is not none"}) {
    if (condition.starts_with(test)) condition.remove_prefix(test.size());
  }
  return condition.empty() || condition.starts_with(" and ");
}

// The template, cut into text, {{ expressions }}, {% statements %} and {# comments #}.
class Outliner {
 public:
  explicit Outliner(std::string_view jinja) : jinja_(jinja) {}

  TemplateOutline read() {
    while (at_ < jinja_.size()) {
      const std::size_t open = next_tag();
      add_text(jinja_.substr(at_, std::min(open, jinja_.size()) - at_), open);
      if (open >= jinja_.size()) break;
      read_tag(open);
    }
    if (!outline_.output.empty() && ends_in_text_ && outline_.output.back() == '\n')
      outline_.output.pop_back();
    return std::move(outline_);
  }

 private:
  [[nodiscard]] std::size_t next_tag() const {
    for (std::size_t i = at_; i + 1 < jinja_.size(); ++i) {
      if (jinja_[i] == '{' && std::string_view("{%#").find(jinja_[i + 1]) != std::string_view::npos) return i;
    }
    return std::string_view::npos;
  }

  // Text before the tag at `open`, which may take white space away.
  void add_text(std::string_view text, std::size_t open) {
    if (strip_next_) text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (drop_newline_ && text.starts_with('\n')) text.remove_prefix(1);
    if (open + 2 < jinja_.size() && open != std::string_view::npos) {
      if (jinja_[open + 2] == '-') {
        text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
      } else if (jinja_[open + 1] != '{' && jinja_[open + 2] != '+') {
        const std::string_view kept = text.substr(0, text.find_last_not_of(" \t") + 1);
        const bool line_start = kept.empty() ? at_line_start(open, text) : kept.ends_with('\n');
        if (line_start) text = kept;
      }
    }
    if (skipping()) return;
    outline_.output += as_text(text);
    ends_in_text_ = !text.empty();
  }

  // Whether nothing but the blanks of `text` lies between the line's beginning and the tag.
  [[nodiscard]] bool at_line_start(std::size_t open, std::string_view text) const {
    const std::size_t before = open - text.size();
    return before == 0 || jinja_[before - 1] == '\n';
  }

  void read_tag(std::size_t open) {
    const char kind = jinja_[open + 1];
    const char* const closing = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const std::size_t end = kind == '#' ? jinja_.find(closing, open + 2) : end_of_tag(open + 2, closing);
    if (end == std::string_view::npos) {  // not closed: no template at all
      outline_.output += OutlineMark::kOther;
      at_ = jinja_.size();
      return;
    }
    std::string_view inside = jinja_.substr(open + 2, end - open - 2);
    strip_next_ = inside.ends_with('-');
    drop_newline_ = kind != '{' && !inside.ends_with('+');
    if (strip_next_) inside.remove_suffix(1);
    if (inside.starts_with('-') || inside.starts_with('+')) inside.remove_prefix(1);
    at_ = end + 2;
    ends_in_text_ = false;
    if (kind == '{' && !skipping()) outline_.output += Expression(inside).read();
    if (kind != '%') return;
    read_statement(trimmed_statement(inside));
    outline_.breaks.push_back(outline_.output.size());
  }

  [[nodiscard]] std::size_t end_of_tag(std::size_t at, std::string_view closing) const {
    char quote = 0;
    for (; at < jinja_.size(); ++at) {
      if (quote != 0) {
        if (jinja_[at] == '\\')
          ++at;
        else if (jinja_[at] == quote)
          quote = 0;
      } else if (jinja_[at] == '\'' || jinja_[at] == '"') {
        quote = jinja_[at];
      } else if (jinja_.substr(at).starts_with(closing)) {
        return at;
      }
    }
    return std::string_view::npos;
  }

  static std::string_view trimmed_statement(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
  }

  // Within a branch for tools.
  [[nodiscard]] bool skipping() const {
    return std::ranges::find(branches_for_tools_, true) != branches_for_tools_.end();
  }

  void read_statement(std::string_view text) {
    if (text.starts_with("if ")) {
      branches_for_tools_.push_back(needs_tools(trimmed_statement(text.substr(3))));
    } else if (text.starts_with("elif ") && !branches_for_tools_.empty()) {
      branches_for_tools_.back() = needs_tools(trimmed_statement(text.substr(5)));
    } else if (text == "else" && !branches_for_tools_.empty()) {
      branches_for_tools_.back() = false;
    } else if (text == "endif" && !branches_for_tools_.empty()) {
      branches_for_tools_.pop_back();
    } else if (text.starts_with("set ") && !skipping()) {
      read_assignment(text.substr(4));
    }
  }

  void read_assignment(std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return;
    outline_.assignments.push_back(
        {as_text(trimmed_statement(text.substr(0, equals))), Expression(text.substr(equals + 1)).read()});
  }

  std::string_view jinja_;
  std::size_t at_ = 0;
  bool strip_next_ = false, drop_newline_ = false;  // what the last tag does to the text behind it
  bool ends_in_text_ = false;
  std::vector<bool> branches_for_tools_;  // of the ifs that are open
  TemplateOutline outline_;
};

}  // namespace

TemplateOutline outline_of(std::string_view jinja) {
  return Outliner(jinja).read();
}

}  // namespace dslad::worker
