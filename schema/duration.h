// Durations as people write them. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace dslad::schema {

// Milliseconds of "90", "1.5s", "10m", "1h30m": a number without a unit is seconds; the units are ms, s, m
// (or min), h and d, the larger first. At most kMaxExpiryMs, ten years. Errors: kInvalidArgument, naming the
// text, what is wrong with it and what to write instead.
Result<std::uint64_t> parse_duration(std::string_view text);

}  // namespace dslad::schema
