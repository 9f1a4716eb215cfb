#include "worker/text/template_outline.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "worker/text/template_condition.h"

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
  std::ranges::replace_if(copy, is_outline_mark, OutlineMark::kOther);
  return copy;
}

std::string_view without_blanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

// An expression, as far as it is a sum of texts and variables.
class Expression {
 public:
  Expression(std::string_view text, const TemplateNames& names) : text_(text), names_(names) {}

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
    if (filter != "trim") return {OutlineMark::kOther};
    if (content) return {OutlineMark::kTrimmed};
    if (std::ranges::none_of(term, is_outline_mark)) return std::string(without_blanks(term));
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
      if (escaped == '\n') continue;  // the text goes on in the next line
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
    const std::size_t behind_name = at_;
    if (last == "strftime_now" && take('(')) return read_date();
    if (last == "raise_exception" && take('(') && skip_to(')')) return std::string();
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
    const char mark = mark_of(last, stripped, strange);
    const bool alone = without_blanks(text_.substr(behind_name, at_ - behind_name)).empty();
    if (mark == OutlineMark::kOther && alone) {
      const TemplateValue value = names_.value_of(last);
      if (value.kind == TemplateValue::Kind::kText) return value.text;
    }
    return std::string(1, mark);
  }

  // strftime_now('...'), behind its bracket.
  std::string read_date() {
    const std::size_t begin = at_;
    if (!skip_to(')')) return {OutlineMark::kOther};
    Expression format(text_.substr(begin, at_ - 1 - begin), names_);
    return fixed_date(format.read()).value_or(std::string{OutlineMark::kOther});
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
  const TemplateNames& names_;
  std::size_t at_ = 0;
};

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
    if (kind == '{' && !skipping()) outline_.output += Expression(inside, names_).read();
    if (kind != '%') return;
    read_statement(without_blanks(inside));
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

  // Within a branch that is not taken.
  [[nodiscard]] bool skipping() const { return !blocks_.empty() && blocks_.back().dead; }
  // Whether all that is written here is written in any case.
  [[nodiscard]] bool certain() const { return blocks_.empty() || blocks_.back().certain; }

  void read_statement(std::string_view text) {
    const std::string_view word = text.substr(0, text.find_first_of(" \t\r\n("));
    const std::string_view rest = without_blanks(text.substr(word.size()));
    Block* const top = blocks_.empty() ? nullptr : &blocks_.back();
    const bool in_if = top != nullptr && top->opened_by == "if";
    if (word == "if") {
      blocks_.push_back({.opened_by = word, .within_dead = skipping(), .within_certain = certain()});
      begin_branch(rest);
    } else if (word == "elif" && in_if) {
      begin_branch(rest);
    } else if (word == "else" && in_if) {
      begin_branch("true");
    } else if (word == "for" || word == "macro" || word == "call") {
      if (word == "for" && !skipping()) read_loop(rest);
      if (word != "for" && !skipping()) forget_names(rest);
      blocks_.push_back({.opened_by = word, .dead = skipping(), .certain = false});
    } else if (word.starts_with("end") && top != nullptr && word.substr(3) == top->opened_by) {
      const bool joined = top->written > 1;
      blocks_.pop_back();
      if (joined && !skipping()) outline_.output += OutlineMark::kBranch;
    } else if (word == "set" && !skipping()) {
      read_assignment(rest);
    }
  }

  // The next branch of the `if` that was opened last.
  void begin_branch(std::string_view condition) {
    Block& block = blocks_.back();
    block.dead = true;
    if (block.within_dead) return;
    const auto taken = block.decided ? std::optional(false) : holds(condition, names_);
    block.dead = taken == false;
    if (block.dead) return;
    if (block.written > 0) outline_.output += OutlineMark::kBranch;
    block.certain = block.within_certain && taken.has_value() && block.written == 0;
    block.decided = taken.has_value();
    ++block.written;
  }

  // NAME in LIST
  void read_loop(std::string_view text) {
    const std::size_t in = std::min(text.find(" in "), text.size());
    const std::string_view name = without_blanks(text.substr(0, in));
    const std::string_view list = without_blanks(text.substr(std::min(in + 4, text.size())));
    forget_names(name);
    if (list == "messages" || list == "loop_messages")
      names_.assign(name, {TemplateValue::Kind::kMessage}, true);
  }

  // Names that a loop or a macro gives their values.
  void forget_names(std::string_view text) {
    for (std::size_t at = 0; at < text.size(); ++at) {
      std::size_t end = at;
      while (end < text.size() && is_word(text[end])) ++end;
      if (end > at) names_.assign(text.substr(at, end - at), {}, false);
      at = end;
    }
  }

  void read_assignment(std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return forget_names(text);
    const std::string_view name = without_blanks(text.substr(0, equals));
    const std::string_view right = without_blanks(text.substr(equals + 1));
    const auto constant = template_constant(right);
    const bool empty = constant && constant->kind != TemplateValue::Kind::kTrue;
    const std::string value = empty ? std::string() : Expression(right, names_).read();
    outline_.assignments.push_back({as_text(name), value});
    TemplateValue known = constant.value_or(TemplateValue{});
    if (!constant && std::ranges::none_of(value, is_outline_mark))
      known = {TemplateValue::Kind::kText, value};
    const bool plain = std::ranges::all_of(name, is_word);
    if (plain) names_.assign(name, std::move(known), certain());
    if (!plain) forget_names(name);
  }

  struct Block {
    std::string_view opened_by;
    bool within_dead = false, within_certain = true;  // what holds around it
    bool dead = false;                                // what is here is never written
    bool certain = true;                              // or is in any case
    bool decided = false;                             // a branch is taken, so that no later one is
    int written = 0;                                  // branches that may be taken
  };

  std::string_view jinja_;
  std::size_t at_ = 0;
  bool strip_next_ = false, drop_newline_ = false;  // what the last tag does to the text behind it
  bool ends_in_text_ = false;
  std::vector<Block> blocks_;  // that are open
  TemplateNames names_;
  TemplateOutline outline_;
};

}  // namespace

TemplateOutline outline_of(std::string_view jinja) {
  return Outliner(jinja).read();
}

}  // namespace dslad::worker
