// Tells systemd how the daemon is: ready, a status line, alive, stopping. Does nothing when systemd did not
// start it. Socket thread only.
#pragma once

#include <cstdint>
#include <string>

namespace dslad::daemon {

class Notify {
 public:
  Notify();  // reads WATCHDOG_USEC

  void ready();
  void stopping();
  void status(const std::string& line);
  // To be called by the loop on each turn, so that a loop that hangs is noticed; pings at half the watchdog's
  // time.
  void alive(std::int64_t steady_ms);

 private:
  std::int64_t ping_every_ms_ = 0;  // 0: no watchdog
  std::int64_t next_ping_ms_ = 0;
  std::string last_status_;
};

}  // namespace dslad::daemon
