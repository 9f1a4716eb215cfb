#include "worker/text/split.h"

#include <algorithm>

namespace dslad::worker {
namespace {

struct Part {
  TextRange range;
  bool match;
};

// The whole text: matches, and what lies between them.
std::vector<Part> parts_of(std::string_view text, std::span<const TextRange> matches, bool invert) {
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  std::size_t rest = 0;
  for (const TextRange& match : matches) {
    if (rest != match.begin) parts.push_back({{rest, match.begin}, invert});
    parts.push_back({match, !invert});
    rest = match.end;
  }
  if (rest != text.size()) parts.push_back({{rest, text.size()}, invert});
  return parts;
}

// Joins neighbours for which `joins(the one before, this one)` holds.
template <typename Joins>
std::vector<Part> join(const std::vector<Part>& parts, Joins joins) {
  std::vector<Part> joined;
  bool previous = false;  // before the first counts as no match
  for (const Part& part : parts) {
    if (joins(previous, part.match) && !joined.empty()) {
      joined.back().range.end = part.range.end;
    } else {
      joined.push_back(part);
    }
    previous = part.match;
  }
  return joined;
}

// From the end, each match joins what lies behind it, unless that is a match.
std::vector<Part> join_with_next(const std::vector<Part>& parts) {
  std::vector<Part> joined;
  bool next = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !next && !joined.empty()) {
      joined.back().range.begin = part->range.begin;
    } else {
      joined.push_back(*part);
    }
    next = part->match;
  }
  std::ranges::reverse(joined);
  return joined;
}

}  // namespace

void split_at(std::string_view text, std::span<const TextRange> matches, SplitBehavior behavior, bool invert,
              std::vector<std::string_view>& pieces) {
  std::vector<Part> parts = parts_of(text, matches, invert);
  if (behavior == SplitBehavior::kContiguous) {
    parts = join(parts, [](bool previous, bool match) { return previous == match; });
  } else if (behavior == SplitBehavior::kMergedWithPrevious) {
    parts = join(parts, [](bool previous, bool match) { return match && !previous; });
  } else if (behavior == SplitBehavior::kMergedWithNext) {
    parts = join_with_next(parts);
  }
  for (const auto& [range, match] : parts) {
    if (range.end == range.begin || (match && behavior == SplitBehavior::kRemoved)) continue;
    pieces.push_back(text.substr(range.begin, range.end - range.begin));
  }
}

}  // namespace dslad::worker
