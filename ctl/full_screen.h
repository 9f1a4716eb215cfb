// A terminal's whole screen for as long as the object lives: another screen than the one with the user's
// scrollback, no cursor, keys read as they are pressed. The destructor puts all of it back. Plain ANSI. One
// object at a time; not thread-safe.
#pragma once

#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <termios.h>
#include <vector>

#include "ctl/terminal.h"

namespace dslad::ctl {

class FullScreen {
 public:
  // Of standard output; keys come from standard input where that is a terminal.
  FullScreen();
  ~FullScreen();
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  [[nodiscard]] static TerminalSize size() { return terminal_size(stdout); }

  // Shows the lines from the top; writes those that have changed. REQUIRES: they fit into `size`.
  void draw(const std::vector<std::string>& lines, TerminalSize size);

  // Until then, or until a key was pressed, a signal has come or the window has another size.
  void wait_until(std::chrono::steady_clock::time_point when);

  // Looks at the keyboard without waiting: whether nobody asked to leave, and the terminal is still there.
  bool goes_on();

 private:
  void read_keys(int timeout_ms);
  void write(std::string_view text);

  termios before_ = {};
  bool keys_;  // standard input is a terminal, which was `before_`
  bool left_ = false;
  bool pressed_ = false;
  struct sigaction old_hangup_ = {};
  TerminalSize drawn_ = {0, 0};
  std::vector<std::string> lines_;
};

}  // namespace dslad::ctl
