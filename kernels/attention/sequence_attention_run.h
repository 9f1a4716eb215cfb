// Runs of consecutive tokens, and which of them see which: the causal and windowed geometry that the versions
// of sequence attention share. Internal to kernels/attention. Functions of their arguments alone.
#pragma once

#include <algorithm>
#include <array>
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

// Which of the tokens before it a token sees: the `window` latest, its own one included (0: all), and the
// `sinks` first.
struct Reach {
  std::int64_t window = 0, sinks = 0;
};

// The tokens of `keys` that at least one of `queries` sees, sinks apart where they lie apart; no rows when
// there are none.
inline std::array<TokenRun, 2> seen_parts(const TokenRun& queries, const TokenRun& keys, const Reach& reach) {
  std::int64_t oldest = reach.window > 0 ? queries.position - reach.window + 1 : 0;
  if (oldest <= reach.sinks) oldest = 0;
  const auto between = [&](std::int64_t first, std::int64_t end) {
    const std::int64_t from = std::clamp<std::int64_t>(first - keys.position, 0, keys.rows);
    const std::int64_t to = std::clamp<std::int64_t>(end - keys.position, from, keys.rows);
    return keys.part(from, to - from);
  };
  return {between(0, oldest > 0 ? reach.sinks : 0), between(oldest, queries.end_position())};
}

// A half-open range of a run's tokens.
struct Range {
  std::int64_t first, last;
};

// The tokens of `queries` that see the token at `position`.
inline Range seeing(const TokenRun& queries, std::int64_t position, const Reach& reach) {
  const auto offset = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at - queries.position, 0, queries.rows);
  };
  const bool goes_out_of_sight = reach.window > 0 && position >= reach.sinks;
  return {offset(position), goes_out_of_sight ? offset(position + reach.window) : queries.rows};
}

}  // namespace dslad::kernels
