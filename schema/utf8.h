// Whether bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most U+10FFFF).
// Every text on the wire and in the database is. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace dslad::schema {

bool valid_utf8(std::string_view bytes);

// As much of `text` as fits in `bytes` without splitting a character; for showing input in an error.
// REQUIRES: valid_utf8(text)
std::string_view utf8_prefix(std::string_view text, std::size_t bytes);

}  // namespace dslad::schema
