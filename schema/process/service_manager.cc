#include "schema/process/service_manager.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

namespace dslad::process {

ServiceManager::ServiceManager() {
  std::uint64_t usec = 0;
  if (sd_watchdog_enabled(0, &usec) > 0) watchdog_ = std::chrono::microseconds(usec);
}

void ServiceManager::ready() {
  sd_notify(0, "READY=1");
}

void ServiceManager::reloading() {
  const auto now = Clock::now().time_since_epoch();  // CLOCK_MONOTONIC, as systemd wants it
  sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                           std::chrono::duration_cast<std::chrono::microseconds>(now).count())
                   .c_str());
}

void ServiceManager::stopping() {
  sd_notify(0, "STOPPING=1");
}

void ServiceManager::status(const std::string& text) {
  if (text == last_status_) return;
  last_status_ = text;
  sd_notify(0, ("STATUS=" + text).c_str());
}

void ServiceManager::extend_timeout(std::chrono::seconds time) {
  sd_notify(0, fmt::format("EXTEND_TIMEOUT_USEC={}", std::chrono::microseconds(time).count()).c_str());
}

void ServiceManager::progress() {
  if (watchdog_.count() == 0 || Clock::now() < next_ping_) return;
  sd_notify(0, "WATCHDOG=1");
  next_ping_ = Clock::now() + watchdog_ / 2;
}

}  // namespace dslad::process
