// Which of several known words a mistyped one most likely meant.
#pragma once

#include <span>
#include <string_view>

namespace dslad::worker {

// The word of `known` with the fewest inserted, dropped or changed letters; the first among equals.
// REQUIRES: `known` is not empty.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace dslad::worker
