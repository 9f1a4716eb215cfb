// The byte-level alphabet of GPT-2: each byte written as one printable character, so that any bytes can
// stand in a JSON vocabulary. Printable Latin-1 bytes are themselves; the other 68 are U+0100 onwards.
// Pure; safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dslad::worker {

// The bytes that `written` stands for; nothing when a character is not of the alphabet.
// REQUIRES: well-formed UTF-8.
std::optional<std::string> byte_level_decode(std::string_view written);

// Appends the character that stands for `byte`.
void append_byte_level(unsigned char byte, std::string& written);

}  // namespace dslad::worker
