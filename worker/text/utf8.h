// UTF-8 one character at a time, for texts that arrive in pieces or must be cut at characters.
// RFC 3629: no surrogates, no overlong forms, at most U+10FFFF. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "schema/result.h"

namespace dslad::worker {

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

// Errors: kInvalidArgument naming the offset and value of that byte.
Status check_utf8(std::string_view text);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace dslad::worker
