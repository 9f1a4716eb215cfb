#include "worker/tools/status_line.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace dslad::worker {
namespace {

constexpr std::chrono::milliseconds kOnTerminal{100}, kElsewhere{10'000};
constexpr const char* kClear = "\r\033[K";

// What fits the window, since only the last row of a longer line would be cleared. Counts bytes: the texts
// are ours, and a file's name with other characters is cut short a little early.
std::string_view fit(std::string_view text) {
  winsize window{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0;
  std::size_t bytes = std::min<std::size_t>(text.size(), (known ? window.ws_col : 80) - 1);
  while (bytes > 0 && bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80)
    --bytes;
  return text.substr(0, bytes);
}

}  // namespace

StatusLine::StatusLine() : terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

StatusLine::~StatusLine() {
  clear();
}

void StatusLine::show(const std::string& text) {
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? kOnTerminal : kElsewhere);
  if (terminal_) {
    fmt::print(stderr, "{}{}", kClear, fit(text));
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
  shown_ = true;
}

void StatusLine::clear() {
  if (shown_ && terminal_) fmt::print(stderr, "{}", kClear);
  shown_ = false;
}

std::string readable_seconds(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace dslad::worker
