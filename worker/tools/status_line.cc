#include "worker/tools/status_line.h"

#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace dslad::worker {
namespace {

constexpr std::chrono::milliseconds kOnTerminal{100}, kElsewhere{10'000};
constexpr const char* kClear = "\r\033[K";

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
    fmt::print(stderr, "{}{}", kClear, text);
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
