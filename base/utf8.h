// UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF), whole or one character at a time.
// Every text on the wire, in the database and in a prompt is well-formed. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dslad {

enum class Utf8Form : std::uint8_t {
  kCharacter,  // `length` bytes are a character
  kCut,        // the text ends within a character: its `length` bytes so far are a valid beginning
  kMalformed,  // `length` bytes begin no character: the maximal part to replace by one U+FFFD
};

struct Utf8Step {
  Utf8Form form;
  std::size_t length;  // 1 .. 4
};

// What stands at text[at]. REQUIRES: at < text.size().
Utf8Step utf8_at(std::string_view text, std::size_t at);

// The offset of the first byte that is not part of a well-formed character; npos when all are.
std::size_t find_malformed_utf8(std::string_view text);

inline bool valid_utf8(std::string_view text) {
  return find_malformed_utf8(text) == std::string_view::npos;
}

// As much of `text` as fits in `bytes` without splitting a character; for showing input in an error.
// REQUIRES: valid_utf8(text)
std::string_view utf8_prefix(std::string_view text, std::size_t bytes);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace dslad
