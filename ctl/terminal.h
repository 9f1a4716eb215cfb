// What the process writes to: whether a person watches, how wide their window is, which colours they want.
// Colours go to terminals only, and not where NO_COLOR is set (no-color.org) or TERM is "dumb".
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>

#include "schema/job.h"

namespace dslad::ctl {

// A terminal that understands cursor movement.
bool is_terminal(std::FILE* stream);

bool takes_colour(std::FILE* stream);

struct TerminalSize {
  std::size_t columns;
  std::size_t rows;
  bool operator==(const TerminalSize&) const = default;
};
TerminalSize terminal_size(std::FILE* stream);  // 80 by 24 where unknown
std::size_t terminal_width(std::FILE* stream);  // columns

// `text` in the state's colour, or as it is where `stream` takes none.
std::string coloured(std::FILE* stream, schema::JobState state, std::string_view text);
std::string coloured(std::FILE* stream, schema::LayerState state, std::string_view text);

// The same where somebody else knows what is written to.
std::string coloured_if(bool colour, schema::JobState state, std::string_view text);
std::string coloured_if(bool colour, schema::LayerState state, std::string_view text);
std::string bold_if(bool colour, std::string_view text);

// Writes and flushes; a reader that has gone away is not an error of ours.
void print(std::string_view text);
int output_error();  // errno of what print() could not write, a full disk say; 0: all is written
void print_error(std::string_view text);

}  // namespace dslad::ctl
