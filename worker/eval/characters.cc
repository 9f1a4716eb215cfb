#include "worker/eval/characters.h"

#include <clocale>
#include <cwctype>
#include <locale.h>  // NOLINT(modernize-deprecated-headers): newlocale is POSIX, not C++

#include "base/utf8.h"

namespace dslad::worker {
namespace {

locale_t unicode() {
  static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return locale;
}

// REQUIRES: text[at..] begins with a well-formed character of `length` bytes.
char32_t decode(std::string_view text, std::size_t at, std::size_t length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (length == 1) return byte(0);
  char32_t character = byte(0) & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) character = (character << 6) | (byte(i) & 0x3fu);
  return character;
}

wint_t wide(char32_t character) {
  return static_cast<wint_t>(character);
}

}  // namespace

std::u32string characters_of(std::string_view text) {
  constexpr char32_t kReplacement = 0xfffd;
  std::u32string characters;
  characters.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_at(text, at);
    const bool whole = step.form == Utf8Form::kCharacter;
    characters += whole ? decode(text, at, step.length) : kReplacement;
    at += step.length;
  }
  return characters;
}

std::string text_of(std::u32string_view characters) {
  std::string text;
  text.reserve(characters.size());
  const auto tail = [&](char32_t bits) { text += static_cast<char>(0x80u | (bits & 0x3fu)); };
  for (const char32_t c : characters) {
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else if (c < 0x800) {
      text += static_cast<char>(0xc0u | (c >> 6));
      tail(c);
    } else if (c < 0x10000) {
      text += static_cast<char>(0xe0u | (c >> 12));
      tail(c >> 6);
      tail(c);
    } else {
      text += static_cast<char>(0xf0u | (c >> 18));
      tail(c >> 12);
      tail(c >> 6);
      tail(c);
    }
  }
  return text;
}

char32_t lower(char32_t character) {
  return static_cast<char32_t>(towlower_l(wide(character), unicode()));
}

bool is_space(char32_t character) {
  // The C library leaves out the spaces that forbid a line break and the control characters that Python
  // counts.
  const bool of_python = (character >= 0x1c && character <= 0x1f) || character == 0x85 || character == 0xa0 ||
                         character == 0x2007 || character == 0x202f;
  return of_python || iswspace_l(wide(character), unicode()) != 0;
}

bool is_word(char32_t character) {
  return character == U'_' || iswalnum_l(wide(character), unicode()) != 0;
}

bool is_punctuation(char32_t character) {
  return (character >= U'!' && character <= U'/') || (character >= U':' && character <= U'@') ||
         (character >= U'[' && character <= U'`') || (character >= U'{' && character <= U'~');
}

}  // namespace dslad::worker
