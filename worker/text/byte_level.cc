#include "worker/text/byte_level.h"

#include <array>
#include <cstdint>

#include "schema/utf8.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kCharacters = 256 + 68;  // code points that the alphabet can use

bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// code point -> byte, -1 where the alphabet has no such character
std::array<std::int16_t, kCharacters> make_table() {
  std::array<std::int16_t, kCharacters> table{};
  table.fill(-1);
  std::size_t next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    table[stands_for_itself(byte) ? byte : next++] = static_cast<std::int16_t>(byte);
  }
  return table;
}

// The code point of a character of one or two bytes, all that the alphabet has; else one beyond it.
std::size_t code_point(std::string_view character) {
  if (character.size() == 1) return static_cast<unsigned char>(character[0]);
  if (character.size() != 2) return kCharacters;
  return (static_cast<std::size_t>(character[0] & 0x1F) << 6) | static_cast<std::size_t>(character[1] & 0x3F);
}

}  // namespace

std::optional<std::string> byte_level_decode(std::string_view written) {
  static const std::array<std::int16_t, kCharacters> kTable = make_table();
  std::string bytes;
  for (std::size_t at = 0; at < written.size();) {
    const std::size_t length = schema::utf8_at(written, at).length;
    const std::size_t character = code_point(written.substr(at, length));
    if (character >= kCharacters || kTable[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kTable[character]);
    at += length;
  }
  return bytes;
}

}  // namespace dslad::worker
