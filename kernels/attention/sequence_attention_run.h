// Runs of consecutive tokens, and which of them see which: the causal and windowed geometry that the versions
// of sequence attention share. Internal to kernels/attention. Functions of their arguments alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/segments.h"

namespace dslad::kernels {

struct TokenRun {
  std::int64_t first_row, rows;  // in the batch
  std::int64_t position;         // of the first token; a parent's tokens count before its children's

  [[nodiscard]] std::int64_t end_position() const { return position + rows; }
  [[nodiscard]] TokenRun part(std::int64_t first, std::int64_t count) const {
    return {first_row + first, std::min(count, rows - first), position + first};
  }
};

inline TokenRun run_of(std::span<const Segment> segments, const Segment& segment) {
  const bool child = segment.parent >= 0;
  return {segment.first_row, segment.rows,
          child ? segments[static_cast<std::size_t>(segment.parent)].rows : 0};
}

// The tokens of `keys` that at least one of `queries` sees; no rows when there are none.
inline TokenRun seen_part(const TokenRun& queries, const TokenRun& keys, std::int64_t window) {
  const std::int64_t oldest = window > 0 ? queries.position - window + 1 : 0;
  const std::int64_t first = std::clamp<std::int64_t>(oldest - keys.position, 0, keys.rows);
  const std::int64_t last =
      std::clamp<std::int64_t>(queries.end_position() - keys.position, first, keys.rows);
  return keys.part(first, last - first);
}

// A half-open range of a run's tokens.
struct Range {
  std::int64_t first, last;
};

// The tokens of `queries` that see the token at `position`.
inline Range seeing(const TokenRun& queries, std::int64_t position, std::int64_t window) {
  const auto offset = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at - queries.position, 0, queries.rows);
  };
  return {offset(position), window > 0 ? offset(position + window) : queries.rows};
}

}  // namespace dslad::kernels
