// Characters of well-formed UTF-8 as numbers, and back. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dslad::worker {

struct CodePoint {
  char32_t value;
  std::size_t length;  // bytes, 1 .. 4
};

// How many bytes the character at text[at] has. REQUIRES: well-formed UTF-8; a character begins there.
inline std::size_t character_length(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// The character at text[at]. REQUIRES: as character_length.
inline CodePoint code_point_at(std::string_view text, std::size_t at) {
  const std::size_t length = character_length(text, at);
  auto value = static_cast<char32_t>(static_cast<unsigned char>(text[at]));
  if (length > 1) value &= 0x7Fu >> length;
  for (std::size_t i = 1; i < length; ++i) {
    value = (value << 6) | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  return {value, length};
}

// The character that ends right before text[end]. REQUIRES: well-formed UTF-8; end > 0.
inline CodePoint code_point_before(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return code_point_at(text, at);
}

// REQUIRES: a code point that is no surrogate.
inline void append_utf8(char32_t value, std::string& text) {
  const auto tail = [&](unsigned shift) { text += static_cast<char>(0x80 | ((value >> shift) & 0x3F)); };
  if (value < 0x80) {
    text += static_cast<char>(value);
  } else if (value < 0x800) {
    text += static_cast<char>(0xC0 | (value >> 6));
    tail(0);
  } else if (value < 0x10000) {
    text += static_cast<char>(0xE0 | (value >> 12));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | (value >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace dslad::worker
