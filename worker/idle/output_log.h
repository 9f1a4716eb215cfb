// Puts what a child process prints into this one's log, line by line with a prefix; of one that prints a lot
// the first lines and one a minute. Thread safety: one thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace dslad::worker {

class OutputLog {
 public:
  explicit OutputLog(std::string prefix) : prefix_(std::move(prefix)) {}

  void add(std::string_view text);
  // The last line that was not empty.
  [[nodiscard]] const std::string& last() const { return last_; }

 private:
  void line();

  std::string prefix_, line_, last_;
  int lines_ = 0;  // logged
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace dslad::worker
