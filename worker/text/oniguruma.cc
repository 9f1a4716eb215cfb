#include "worker/text/oniguruma.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "worker/text/unicode_ages.h"

namespace dslad::worker {
namespace {

constexpr std::string_view kSpace = "\\p{White_Space}";
constexpr std::string_view kPlainEscapes = "AzZGntrfaeR0123456789kx";

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// What \w is to Oniguruma: the characters of Latin-1 are a fault of its tables that every tokenizer has seen.
std::string word_characters() {
  return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}" + younger_characters("L") +
         younger_characters("M") + younger_characters("Nd");
}

class PatternTranslator {
 public:
  explicit PatternTranslator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> translate() {
    while (at_ < pattern_.size() && problem_.empty()) step();
    if (!problem_.empty()) {
      return Error{ErrorCode::kInvalidArgument, problem_ + " is not implemented in a tokenizer's pattern"};
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool next_is(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  [[nodiscard]] std::string_view rest() const { return pattern_.substr(at_); }

  void refuse(std::string_view what) {
    if (problem_.empty()) problem_ = fmt::format("\"{}\"", what);
  }

  void copy(std::size_t bytes) {
    result_ += rest().substr(0, bytes);
    at_ += bytes;
  }

  void step() {
    const char c = pattern_[at_];
    if (c == '\\') return escape();
    if (in_brackets_) return within_brackets(c);
    if (c == '[') return open_brackets();
    if (c == '{') return count();
    if (next_is("(?")) return group();
    copy(1);
  }

  void open_brackets() {
    in_brackets_ = true;
    copy(1);
    if (next_is("^")) copy(1);
    if (next_is("]")) result_ += '\\', copy(1);  // first in a class it is itself
  }

  void within_brackets(char c) {
    if (c == '[') return refuse(next_is("[:") ? "[[:name:]]" : "[ within [...]");
    if (next_is("&&")) return refuse("&&");
    if (c == ']') in_brackets_ = false;
    copy(1);
  }

  // "{2}", "{2,}", "{2,3}" or "{,3}"; other braces are themselves in both.
  void count() {
    const std::size_t end = pattern_.find('}', at_);
    const std::string_view inside =
        end == std::string_view::npos ? std::string_view{} : pattern_.substr(at_ + 1, end - at_ - 1);
    const std::size_t comma = inside.find(',');
    const bool numbers =
        !inside.empty() && inside != "," &&
        inside.find_first_not_of("0123456789,") == std::string_view::npos &&
        inside.find(',', comma == std::string_view::npos ? 0 : comma + 1) == std::string_view::npos;
    if (!numbers) {
      result_ += '\\';
      return copy(1);
    }
    result_ += comma == 0 ? fmt::format("{{0{}}}", inside) : fmt::format("{{{}}}", inside);
    at_ = end + 1;
    if (next_is("+")) return refuse("{...}+");  // possessive to PCRE2, a repeat of repeats here
    if (next_is("?") && comma == std::string_view::npos) refuse("{n}?");
  }

  // "(?" and what follows up to where the group's own pattern begins.
  void group() {
    for (const std::string_view plain : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (next_is(plain)) return copy(plain.size());
    }
    if (next_is("(?<")) {
      const std::size_t end = rest().find('>');
      return end == std::string_view::npos ? refuse(rest()) : copy(end + 1);
    }
    const std::size_t end = rest().find_first_of(":)", 2);
    const std::string_view flags = end == std::string_view::npos ? rest() : rest().substr(2, end - 2);
    if (flags.find_first_not_of("im-") != std::string_view::npos || end == std::string_view::npos) {
      return refuse(rest().substr(0, 3));
    }
    result_ += "(?";
    for (const char flag : flags) result_ += flag == 'm' ? 's' : flag;  // both: "." takes line ends, too
    at_ += end;
    copy(1);
  }

  void escape() {
    if (at_ + 1 >= pattern_.size()) return copy(1);  // PCRE2 says what is wrong
    const char letter = pattern_[at_ + 1];
    if (letter == 'p' || letter == 'P') return property();
    if (letter == 'u') return unicode_escape();
    if (next_is("\\x{")) return copy(std::min(rest().find('}'), rest().size() - 1) + 1);
    if (letter == 'x' && at_ + 2 < pattern_.size() && pattern_[at_ + 2] > '7') {
      return refuse(rest().substr(0, 4));  // a byte of a character
    }
    if (letter == 'b' || letter == 'B') return in_brackets_ ? refuse("\\b within [...]") : boundary(letter);
    for (const auto& [name, characters] : {std::pair('s', std::string(kSpace)),
                                           {'w', word_characters()},
                                           {'d', "\\p{Nd}" + younger_characters("Nd")},
                                           {'h', std::string("0-9a-fA-F")}}) {
      if (letter == name || letter == name - 'a' + 'A') {
        at_ += 2;
        return characters_of(characters, letter != name);
      }
    }
    if (letter == 'v') {
      result_ += "\\x0B";
      at_ += 2;
      return;
    }
    const bool plain = !is_ascii_letter(letter) && !is_digit(letter);
    if (!plain && kPlainEscapes.find(letter) == std::string_view::npos) return refuse(rest().substr(0, 2));
    copy(2);
  }

  // "\u2581"
  void unicode_escape() {
    const std::string_view digits = rest().substr(2, 4);
    if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      return refuse(rest().substr(0, 2));
    }
    result_ += fmt::format("\\x{{{}}}", digits);
    at_ += 6;
  }

  void boundary(char letter) {
    const std::string word = "[" + word_characters() + "]";
    result_ += letter == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                             : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
    at_ += 2;
  }

  // "\p{L}", "\P{L}", "\p{^L}", "\p{Han}"
  void property() {
    const std::size_t end = rest().find('}');
    if (!rest().substr(2).starts_with('{') || end == std::string_view::npos)
      return refuse(rest().substr(0, 3));
    std::string_view name = rest().substr(3, end - 3);
    bool negated = pattern_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") !=
        std::string_view::npos) {
      return refuse(rest().substr(0, end + 1));
    }
    at_ += end + 1;
    // PCRE2 alone would count a script's extensions, too.
    const bool script = name.size() > 2 && name != "Alphabetic" && name != "White_Space" && name != "Any";
    characters_of(fmt::format("\\p{{{}{}}}", script ? "sc:" : "", name) + younger_characters(name), negated);
  }

  // `inside` is what a bracket would hold.
  void characters_of(const std::string& inside, bool negated) {
    if (!in_brackets_) {
      result_ += negated ? "[^" : "[";
      result_ += inside + "]";
    } else if (!negated) {
      result_ += inside;
    } else if (inside.starts_with("\\p{") && inside.find("\\p{", 1) == std::string::npos) {
      result_ += "\\P" + inside.substr(2, inside.find('}') - 1);
    } else {
      refuse("\\W or \\H within [...]");
    }
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_brackets_ = false;
  std::string result_;
  std::string problem_;
};

}  // namespace

Result<std::string> pcre_pattern(std::string_view oniguruma) {
  return PatternTranslator(oniguruma).translate();
}

}  // namespace dslad::worker
