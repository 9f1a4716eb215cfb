#include "worker/tasks/windows.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace dslad::worker {
namespace {

constexpr bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

constexpr bool begins_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

// How good a place to cut is, best first.
enum class Cut : std::uint8_t { kParagraph, kLine, kSentence, kWord, kCharacter };
constexpr std::array kCuts = {Cut::kParagraph, Cut::kLine, Cut::kSentence, Cut::kWord, Cut::kCharacter};

// Whether what begins at text[at] may follow a cut of this kind. REQUIRES: 0 < at < text.size().
bool may_cut(std::string_view text, std::size_t at, Cut cut) {
  const std::string_view before = text.substr(0, at);
  switch (cut) {
    case Cut::kParagraph:
      return (before.ends_with("\n\n") || before.ends_with("\n\r\n")) && !is_space(text[at]);
    case Cut::kLine:
      return before.ends_with('\n') && !is_space(text[at]);
    case Cut::kSentence: {
      if (before.ends_with("。") || before.ends_with("！") || before.ends_with("？")) return true;
      if (!is_space(before.back()) || is_space(text[at])) return false;
      const std::size_t end = before.find_last_not_of(" \t\r\n\"')");
      return end != std::string_view::npos &&
             std::string_view(".!?").find(before[end]) != std::string_view::npos;
    }
    case Cut::kWord:
      return is_space(before.back()) && !is_space(text[at]);
    case Cut::kCharacter:
      break;
  }
  return begins_character(text[at]);
}

// The best place to cut within (low, high]: of the best kind that is there the last, or the first. The text's
// own end is the best of all. REQUIRES: low < high <= text.size().
std::size_t last_cut(std::string_view text, std::size_t low, std::size_t high) {
  if (high == text.size()) return high;
  for (const Cut cut : kCuts) {
    for (std::size_t at = high; at > low; --at) {
      if (may_cut(text, at, cut)) return at;
    }
  }
  return high;  // within a character longer than the range
}

std::size_t first_cut(std::string_view text, std::size_t low, std::size_t high) {
  for (const Cut cut : kCuts) {
    for (std::size_t at = std::max<std::size_t>(low, 1); at < high; ++at) {
      if (may_cut(text, at, cut)) return at;
    }
  }
  return high;
}

// Of `bytes`, those that about `tokens` of `of` tokens take.
std::size_t share(std::size_t bytes, std::int64_t tokens, std::int64_t of) {
  const double part = static_cast<double>(tokens) / static_cast<double>(std::max<std::int64_t>(of, 1));
  return static_cast<std::size_t>(static_cast<double>(bytes) * std::clamp(part, 0.0, 1.0));
}

// A guess that was too long for the limit, shortened: always by a little, or texts whose tokens lie unevenly
// would be tried for long.
std::size_t shorter(std::size_t bytes, std::int64_t tokens, std::int64_t limit) {
  return std::min(share(bytes, limit, tokens), bytes - 1 - bytes / 32);
}

Error too_small(std::int64_t limit) {
  return {ErrorCode::kInvalidArgument,
          fmt::format(
              "a part of the document would have to fit {} tokens, prompt included: the model's context or "
              "cache is too small for that",
              limit)};
}

// The longest piece from `begin` on with about `aim` bytes at most that fits.
Result<Window> window_at(std::string_view document, std::size_t begin, std::size_t aim,
                         const WindowSize& size, const EncodePiece& encode) {
  for (std::size_t bytes = std::min(aim, document.size() - begin); bytes > 0;) {
    const std::size_t end = last_cut(document, begin + bytes - bytes / 4 - 1, begin + bytes);
    if (end > begin && (end == document.size() || begins_character(document[end]))) {
      auto ids = encode(document.substr(begin, end - begin));
      if (!ids) return ids.error();
      if (std::ssize(*ids) <= size.limit) return Window{{begin, end}, *std::move(ids)};
      bytes = shorter(bytes, std::ssize(*ids), size.limit);
    } else {
      --bytes;
    }
  }
  return too_small(size.limit);
}

}  // namespace

Result<std::vector<Window>> windows_of(std::string_view document, const WindowSize& size,
                                       const EncodePiece& encode) {
  const std::size_t overlap = share(document.size(), size.overlap, size.whole);
  std::vector<Window> windows;
  for (std::size_t begin = 0;;) {
    // What is left, in equal parts: a last one of a few words would have nothing to say.
    const std::size_t left = document.size() - begin;
    const std::size_t most =
        std::max<std::size_t>(share(document.size(), size.limit, size.whole), overlap + 1);
    const std::size_t step = std::max<std::size_t>(most - overlap, 1);
    const std::size_t parts = left <= most ? 1 : 1 + (left - most + step - 1) / step;
    const std::size_t aim = parts == 1 ? left : overlap + (left - overlap + parts - 1) / parts;
    auto window = window_at(document, begin, aim, size, encode);
    if (!window) return window.error();
    const std::size_t end = window->bytes.end;
    windows.push_back(*std::move(window));
    if (end == document.size()) return windows;
    const std::size_t shared = std::min(overlap, (end - begin) / 2);
    begin = shared == 0 ? end : first_cut(document, end - shared, end);
  }
}

Result<std::vector<TokenId>> without_middle(std::string_view document, const WindowSize& size,
                                            const EncodePiece& encode) {
  for (std::size_t kept = share(document.size(), size.limit, size.whole); kept > 1;) {
    const std::size_t half = kept / 2;
    const std::size_t front = last_cut(document, half - half / 4 - 1, half);
    const std::size_t back =
        first_cut(document, document.size() - half, document.size() - half + half / 4 + 1);
    if (back == document.size() || !begins_character(document[front]) || !begins_character(document[back])) {
      --kept;
      continue;
    }
    std::string text(document.substr(0, front));
    text.append(kLeftOut).append(document.substr(back));
    auto ids = encode(text);
    if (!ids || std::ssize(*ids) <= size.limit) return ids;
    kept = shorter(kept, std::ssize(*ids), size.limit);
  }
  return too_small(size.limit);
}

}  // namespace dslad::worker
