#include "ctl/terminal.h"

#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace dslad::ctl {
namespace {

int lost_output = 0;  // of print(), as the functions of <cstdio> keep theirs in the stream

std::string paint(bool colour, int code, std::string_view text) {
  if (code == 0 || !colour) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

constexpr int kBold = 1;
constexpr int kRed = 31;
constexpr int kGreen = 32;
constexpr int kYellow = 33;
constexpr int kCyan = 36;

int colour_of(schema::JobState state) {
  switch (state) {
    case schema::JobState::kQueued:
      return 0;
    case schema::JobState::kRunning:
      return kCyan;
    case schema::JobState::kSucceeded:
      return kGreen;
    case schema::JobState::kFailed:
      return kRed;
    case schema::JobState::kCancelled:
    case schema::JobState::kExpired:
      return kYellow;
  }
  return 0;
}

int colour_of(schema::LayerState state) {
  switch (state) {
    case schema::LayerState::kTransformer:
    case schema::LayerState::kPlanned:
      return 0;
    case schema::LayerState::kDistilling:
    case schema::LayerState::kDistilled:
      return kCyan;
    case schema::LayerState::kActive:
      return kGreen;
    case schema::LayerState::kReverted:
      return kYellow;
    case schema::LayerState::kFailed:
      return kRed;
  }
  return 0;
}

}  // namespace

bool is_terminal(std::FILE* stream) {
  const char* term = std::getenv("TERM");
  return ::isatty(::fileno(stream)) != 0 && (term == nullptr || std::string_view(term) != "dumb");
}

bool takes_colour(std::FILE* stream) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal(stream) && (no_color == nullptr || *no_color == '\0');
}

TerminalSize terminal_size(std::FILE* stream) {
  winsize size{};
  if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return {80, 24};
  return {size.ws_col, size.ws_row == 0 ? std::size_t{24} : size.ws_row};
}

std::size_t terminal_width(std::FILE* stream) {
  return terminal_size(stream).columns;
}

std::string coloured(std::FILE* stream, schema::JobState state, std::string_view text) {
  return coloured_if(takes_colour(stream), state, text);
}

std::string coloured(std::FILE* stream, schema::LayerState state, std::string_view text) {
  return coloured_if(takes_colour(stream), state, text);
}

std::string coloured_if(bool colour, schema::JobState state, std::string_view text) {
  return paint(colour, colour_of(state), text);
}

std::string coloured_if(bool colour, schema::LayerState state, std::string_view text) {
  return paint(colour, colour_of(state), text);
}

std::string bold_if(bool colour, std::string_view text) {
  return paint(colour, kBold, text);
}

void print(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if ((!written || std::fflush(stdout) != 0) && errno != EPIPE) lost_output = errno;
}

int output_error() {
  return lost_output;
}

void print_error(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace dslad::ctl
