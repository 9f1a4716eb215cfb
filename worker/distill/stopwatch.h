// Seconds of a clock that never goes back, since it was made or set to zero.
#pragma once

#include <chrono>

namespace dslad::worker {

class Stopwatch {
 public:
  void restart() { start_ = Clock::now(); }
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace dslad::worker
