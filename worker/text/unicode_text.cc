#include "worker/text/unicode_text.h"

#include <algorithm>
#include <cstdint>
#include <utf8proc.h>
#include <vector>

#include "worker/text/code_points.h"
#include "worker/text/regex.h"
#include "worker/text/unicode_ages.h"

namespace dslad::worker {
namespace {

utf8proc_option_t decomposing(NormalizationForm form) {
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                        (compatible ? UTF8PROC_COMPAT : 0));
}

bool is_composed(NormalizationForm form) {
  return form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
}

// Accents are put into their order; of equals the first stays first.
void order_accents(std::vector<std::int32_t>& characters) {
  const auto accent = [](std::int32_t character) {
    return utf8proc_get_property(character)->combining_class;
  };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if(begin, characters.end(), [&](std::int32_t c) { return accent(c) != 0; });
    const auto end = std::find_if(begin, characters.end(), [&](std::int32_t c) { return accent(c) == 0; });
    std::stable_sort(begin, end, [&](std::int32_t a, std::int32_t b) { return accent(a) < accent(b); });
    begin = end;
  }
}

// A stretch without characters that normalizers leave. utf8proc's own function for whole texts sorts accents
// in quadratic time, which a text of a megabyte of them would notice.
void append_form(std::string_view text, NormalizationForm form, std::string& result) {
  const bool is_ascii =
      std::ranges::all_of(text, [](char byte) { return static_cast<signed char>(byte) >= 0; });
  if (is_ascii) {
    result += text;
    return;
  }
  constexpr utf8proc_ssize_t kMostOfOne = 32;  // U+FDFA decomposes into 18
  std::vector<std::int32_t> characters;
  characters.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint character = code_point_at(text, at);
    std::int32_t parts[kMostOfOne];
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<std::int32_t>(character.value), parts,
                                                           kMostOfOne, decomposing(form), &boundary);
    if (count > 0 && count <= kMostOfOne) characters.insert(characters.end(), parts, parts + count);
    at += character.length;
  }
  order_accents(characters);
  auto count = static_cast<utf8proc_ssize_t>(characters.size());
  if (is_composed(form) && count > 0) {
    count = utf8proc_normalize_utf32(characters.data(), count,
                                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(static_cast<char32_t>(characters[static_cast<std::size_t>(i)]), result);
  }
}

}  // namespace

std::string to_form(std::string_view text, NormalizationForm form) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint character = code_point_at(text, at);
    at += character.length;
    if (!is_left_by_normalizers(character.value)) continue;
    append_form(text.substr(begin, at - character.length - begin), form, result);
    append_utf8(character.value, result);
    begin = at;
  }
  append_form(text.substr(begin), form, result);
  return result;
}

std::string to_lower_case(std::string_view text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one capital letter whose small form has two characters
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto [value, length] = code_point_at(text, at);
    at += length;
    if (value == kCapitalIWithDot) {
      result += "i\u0307";
      continue;
    }
    const auto younger = younger_lower_case(value);
    append_utf8(
        younger ? *younger : static_cast<char32_t>(utf8proc_tolower(static_cast<std::int32_t>(value))),
        result);
  }
  return result;
}

bool is_white_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t character) {
  static const Result<Regex> kWord = Regex::compile_pcre(word_pattern());
  std::string text;
  append_utf8(character, text);
  std::vector<TextRange> matches;
  return kWord.ok() && Regex::Search(*kWord).find_all(text, matches).ok() && !matches.empty();
}

}  // namespace dslad::worker
