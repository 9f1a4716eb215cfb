// Which of several known words a mistyped one most likely meant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace dslad {

// Letters to insert, drop or change to make one word the other. Of long words only the beginning counts: a
// suggestion needs no more.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The word of `known` with the fewest inserted, dropped or changed letters; the first among equals.
// REQUIRES: `known` is not empty.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace dslad
