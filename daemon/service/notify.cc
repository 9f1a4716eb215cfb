#include "daemon/service/notify.h"

#include <systemd/sd-daemon.h>

namespace dslad::daemon {

Notify::Notify() {
  std::uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) > 0)
    ping_every_ms_ = static_cast<std::int64_t>(microseconds / 2'000);
}

void Notify::ready() {
  sd_notify(0, "READY=1");
}
void Notify::stopping() {
  sd_notify(0, "STOPPING=1");
}

void Notify::status(const std::string& line) {
  if (line == last_status_) return;
  last_status_ = line;
  sd_notify(0, ("STATUS=" + line).c_str());
}

void Notify::alive(std::int64_t steady_ms) {
  if (ping_every_ms_ == 0 || steady_ms < next_ping_ms_) return;
  next_ping_ms_ = steady_ms + ping_every_ms_;
  sd_notify(0, "WATCHDOG=1");
}

}  // namespace dslad::daemon
