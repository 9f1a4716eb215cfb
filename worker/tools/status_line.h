// One line on stderr that says what is going on: rewritten in place on a terminal, repeated every ten seconds
// elsewhere. Thread safety: one user at a time.
#pragma once

#include <chrono>
#include <string>

namespace dslad::worker {

class StatusLine {
 public:
  StatusLine();
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  // Shows `text`, unless another was shown a moment ago.
  void show(const std::string& text);
  // Clears the line on a terminal, so that something else can be printed.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point next_;
};

// "42 s", "3 min", "2.5 h".
std::string readable_seconds(double seconds);

}  // namespace dslad::worker
