#include "ctl/full_screen.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "ctl/columns.h"
#include "ctl/interrupt.h"

namespace dslad::ctl {
namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr std::chrono::milliseconds kGlance{100};  // between looks at the window's size and for signals

volatile std::sig_atomic_t hung_up = 0;

void note_hangup(int) {
  hung_up = 1;
}

// Keys without echo and at once. Ctrl-C stays a signal; what would stop or dump the process is off, because
// it would leave the screen as it is.
termios as_keys(termios mode) {
  mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  mode.c_cc[VSUSP] = _POSIX_VDISABLE;
  mode.c_cc[VQUIT] = _POSIX_VDISABLE;
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  return mode;
}

}  // namespace

FullScreen::FullScreen() : keys_(::tcgetattr(STDIN_FILENO, &before_) == 0) {
  struct sigaction action = {};
  action.sa_handler = note_hangup;
  sigemptyset(&action.sa_mask);
  sigaction(SIGHUP, &action, &old_hangup_);
  if (keys_) {
    const termios mode = as_keys(before_);
    ::tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
  }
  write(kEnter);
}

FullScreen::~FullScreen() {
  write(kLeave);
  if (keys_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  sigaction(SIGHUP, &old_hangup_, nullptr);
}

void FullScreen::draw(const std::vector<std::string>& lines, TerminalSize size) {
  std::string out;
  if (size != drawn_) {
    out = "\x1b[H\x1b[J";
    lines_.clear();
    drawn_ = size;
  }
  for (std::size_t row = 0; row < lines.size(); ++row) {
    if (row < lines_.size() && lines_[row] == lines[row]) continue;
    out += fmt::format("\x1b[{};1H{}", row + 1, lines[row]);
    if (display_width(lines[row]) < size.columns) out += "\x1b[K";  // else it would clear the last column
  }
  if (lines.size() < lines_.size()) out += fmt::format("\x1b[{};1H\x1b[J", lines.size() + 1);
  write(out);
  lines_ = lines;
}

void FullScreen::wait_until(std::chrono::steady_clock::time_point when) {
  pressed_ = false;
  while (goes_on() && !pressed_) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(when - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    read_keys(static_cast<int>(std::min(left, kGlance).count()));
    if (size() != drawn_) return;
  }
}

bool FullScreen::goes_on() {
  read_keys(0);
  return !left_ && hung_up == 0 && !interrupted();
}

void FullScreen::read_keys(int timeout_ms) {
  pollfd input{keys_ ? STDIN_FILENO : -1, POLLIN, 0};
  if (::poll(&input, 1, timeout_ms) <= 0) return;
  std::array<char, 64> keys{};
  const ssize_t got = ::read(STDIN_FILENO, keys.data(), keys.size());
  if (got <= 0) {
    left_ = left_ || got == 0 || errno != EINTR;  // the terminal is gone
    return;
  }
  pressed_ = true;
  const auto end = keys.begin() + got;
  left_ = left_ || std::find_if(keys.begin(), end, [](char key) { return key == 'q' || key == 'Q'; }) != end;
}

void FullScreen::write(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR && hung_up == 0) continue;
    if (written < 0) {
      left_ = true;
      return;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace dslad::ctl
