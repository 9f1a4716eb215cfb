#include "ctl/columns.h"

#include <algorithm>
#include <array>
#include <utility>

namespace dslad::ctl {
namespace {

struct Range {
  char32_t first, last;
};

// Unicode's East Asian Width W and F, in ranges wide enough to take in what lies between.
constexpr std::array kWide = {
    Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0x33FF},   Range{0x3400, 0x4DBF},
    Range{0x4E00, 0xA4CF},   Range{0xA960, 0xA97F},   Range{0xAC00, 0xD7A3},   Range{0xF900, 0xFAFF},
    Range{0xFE30, 0xFE6F},   Range{0xFF01, 0xFF60},   Range{0xFFE0, 0xFFE6},   Range{0x1F300, 0x1F64F},
    Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF}, Range{0x20000, 0x3FFFD},
};
constexpr std::array kNone = {Range{0x0300, 0x036F}, Range{0x200B, 0x200F}, Range{0x202A, 0x202E},
                              Range{0x2060, 0x206F}, Range{0x20D0, 0x20FF}, Range{0xFE00, 0xFE0F}};

template <std::size_t N>
bool in(const std::array<Range, N>& ranges, char32_t point) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [point](const Range& range) { return point >= range.first && point <= range.last; });
}

// What begins at a place of a text: a colour sequence or a character.
struct Piece {
  std::size_t bytes;
  std::size_t columns;
};

Piece piece_at(std::string_view text, std::size_t at) {
  if (text[at] == '\x1b') return {std::min(text.find('m', at), text.size() - 1) + 1 - at, 0};
  const auto lead = static_cast<unsigned char>(text[at]);
  std::size_t end = at + 1;
  char32_t point = lead < 0x80 ? lead : lead & (lead < 0xE0 ? 0x1FU : lead < 0xF0 ? 0x0FU : 0x07U);
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    point = (point << 6) | (static_cast<unsigned char>(text[end++]) & 0x3FU);
  }
  if (point < 0x300) return {end - at, 1};
  return {end - at, in(kNone, point) ? 0U : in(kWide, point) ? 2U : 1U};
}

}  // namespace

std::size_t display_width(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Piece piece = piece_at(text, at);
    columns += piece.columns;
    at += piece.bytes;
  }
  return columns;
}

std::string fit(std::string_view text, std::size_t columns) {
  std::size_t taken = 0;
  bool coloured = false;
  for (std::size_t at = 0; at < text.size();) {
    const Piece piece = piece_at(text, at);
    if (taken + piece.columns > columns) {
      return std::string(text.substr(0, at)) + (coloured ? "\x1b[0m" : "");
    }
    coloured = coloured || text[at] == '\x1b';
    taken += piece.columns;
    at += piece.bytes;
  }
  return std::string(text);
}

std::vector<std::string> wrap(const std::vector<std::string>& pieces, std::string_view gap,
                              std::size_t columns) {
  std::vector<std::string> lines;
  std::size_t taken = 0;
  for (const std::string& piece : pieces) {
    const std::size_t width = std::min(display_width(piece), columns);
    if (!lines.empty() && taken + display_width(gap) + width <= columns) {
      lines.back() += std::string(gap) + piece;
      taken += display_width(gap) + width;
    } else {
      lines.push_back(fit(piece, columns));
      taken = width;
    }
  }
  return lines;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  for (std::size_t at = text.find_first_not_of(' '); at != std::string_view::npos;) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    all.emplace_back(text.substr(at, end - at));
    at = text.find_first_not_of(' ', end);
  }
  return all;
}

}  // namespace dslad::ctl
