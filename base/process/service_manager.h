// What a daemon tells systemd (sd_notify(3)), and how often its watchdog wants to hear of it.
//
// Does nothing outside a Type=notify service. Never waits: what a manager that has stopped reading cannot
// take is left out, and nobody's work stands still for it. sd_notify itself would wait. Thread safety: one
// caller at a time.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/process/descriptor.h"

namespace dslad::process {

class ServiceManager {
 public:
  ServiceManager();  // reads NOTIFY_SOCKET and WATCHDOG_USEC

  void ready();
  void reloading();  // until the next ready()
  void stopping();
  void status(const std::string& text);  // one line; sent only when it changed
  // While starting or stopping takes long: the manager waits at least this much longer.
  void extend_timeout(std::chrono::seconds time);

  // How long the watchdog waits for a sign; 0 where there is none.
  [[nodiscard]] std::chrono::microseconds watchdog() const { return watchdog_; }

  // To be called as the main loop makes progress, and only then; tells the watchdog at half its interval.
  void progress();

 private:
  using Clock = std::chrono::steady_clock;
  void tell(std::string_view assignments) const;

  Descriptor socket_;
  std::string path_;                       // of the manager's socket; empty: there is no manager
  std::chrono::microseconds watchdog_{0};  // 0: no watchdog
  Clock::time_point next_ping_{};
  std::string last_status_;
};

}  // namespace dslad::process
