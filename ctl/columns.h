// How many columns of a terminal a text takes, and texts made to fit them. Texts are UTF-8 without control
// characters (one_line), but for colour sequences, which take no room. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace dslad::ctl {

// Wide characters (of East Asian scripts, emoji) take two columns, combining ones none.
std::size_t display_width(std::string_view text);

// `text`, cut at a character so that it takes at most `columns`; colours end with it.
std::string fit(std::string_view text, std::size_t columns);

// `pieces` with `gap` between them, in as many lines as that takes; a piece that is longer than a line is
// cut.
std::vector<std::string> wrap(const std::vector<std::string>& pieces, std::string_view gap,
                              std::size_t columns);

std::vector<std::string> words(std::string_view text);  // what stands between blanks

}  // namespace dslad::ctl
