#include "worker/text/utf8.h"

#include <fmt/format.h>

namespace dslad::worker {
namespace {

// How many bytes a lead byte opens, and the range of the second; the others lie in 0x80 .. 0xBF.
struct Lead {
  std::size_t length;  // 0: no lead byte
  unsigned char low, high;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};  // U+D800 .. U+DFFF are surrogates
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

Utf8Step utf8_at(std::string_view text, std::size_t at) {
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  if (lead.length == 0) return {Utf8Form::kMalformed, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (at + i == text.size()) return {Utf8Form::kCut, i};
    const auto byte = static_cast<unsigned char>(text[at + i]);
    const unsigned char low = i == 1 ? lead.low : 0x80;
    const unsigned char high = i == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) return {Utf8Form::kMalformed, i};
  }
  return {Utf8Form::kCharacter, lead.length};
}

std::size_t find_malformed_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_at(text, at);
    if (step.form != Utf8Form::kCharacter) return at;
    at += step.length;
  }
  return std::string_view::npos;
}

Status check_utf8(std::string_view text) {
  const std::size_t at = find_malformed_utf8(text);
  if (at == std::string_view::npos) return ok_status();
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("the text is not UTF-8: byte 0x{:02X} at offset {}; convert it to UTF-8 first",
                           static_cast<unsigned char>(text[at]), at)};
}

}  // namespace dslad::worker
