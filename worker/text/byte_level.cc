#include "worker/text/byte_level.h"

#include <array>
#include <cstdint>

#include "worker/text/code_points.h"

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

// byte -> code point
std::array<char16_t, 256> make_inverse_table() {
  std::array<char16_t, 256> inverse{};
  const auto table = make_table();
  for (std::size_t i = 0; i < kCharacters; ++i) {
    if (table[i] >= 0) inverse[static_cast<std::size_t>(table[i])] = static_cast<char16_t>(i);
  }
  return inverse;
}

}  // namespace

std::optional<std::string> byte_level_decode(std::string_view written) {
  static const std::array<std::int16_t, kCharacters> kTable = make_table();
  std::string bytes;
  for (std::size_t at = 0; at < written.size();) {
    const CodePoint character = code_point_at(written, at);
    if (character.value >= kCharacters || kTable[character.value] < 0) return std::nullopt;
    bytes += static_cast<char>(kTable[character.value]);
    at += character.length;
  }
  return bytes;
}

void append_byte_level(unsigned char byte, std::string& written) {
  static const std::array<char16_t, 256> kTable = make_inverse_table();
  append_utf8(kTable[byte], written);
}

}  // namespace dslad::worker
