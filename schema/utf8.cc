#include "schema/utf8.h"

#include <cstddef>
#include <cstdint>

namespace dslad::schema {
namespace {

// Length of the sequence that `lead` opens, and the range its second byte must lie in; length 0 is an error.
struct Form {
  std::size_t length;
  std::uint8_t low, high;
};

Form form_of(std::uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // U+D800..DFFF are surrogates
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

bool valid_utf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<std::uint8_t>(bytes[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const Form form = form_of(lead);
    if (form.length == 0 || bytes.size() - i < form.length) return false;
    const auto second = static_cast<std::uint8_t>(bytes[i + 1]);
    if (second < form.low || second > form.high) return false;
    for (std::size_t k = 2; k < form.length; ++k) {
      if ((static_cast<std::uint8_t>(bytes[i + k]) & 0xC0) != 0x80) return false;
    }
    i += form.length;
  }
  return true;
}

std::string_view utf8_prefix(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<std::uint8_t>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

}  // namespace dslad::schema
