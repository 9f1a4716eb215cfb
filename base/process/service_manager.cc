#include "base/process/service_manager.h"

#include <cstdlib>
#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include "base/process/local_socket.h"

namespace dslad::process {

ServiceManager::ServiceManager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  const std::string_view name = path == nullptr ? "" : path;
  const bool local = name.starts_with('/') || name.starts_with('@');
  if (local && name.size() <= longest_socket_path()) path_ = name;
  std::uint64_t usec = 0;
  if (sd_watchdog_enabled(0, &usec) > 0) watchdog_ = std::chrono::microseconds(usec);
}

void ServiceManager::tell(std::string_view assignments) const {
  if (path_.empty()) return;
  const LocalAddress manager(path_);
  [[maybe_unused]] const auto sent = ::sendto(socket_.get(), assignments.data(), assignments.size(),
                                              MSG_NOSIGNAL, manager.get(), manager.size);
}

void ServiceManager::ready() {
  tell("READY=1");
}

void ServiceManager::reloading() {
  const auto now = Clock::now().time_since_epoch();  // CLOCK_MONOTONIC, as systemd wants it
  tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}",
                   std::chrono::duration_cast<std::chrono::microseconds>(now).count()));
}

void ServiceManager::stopping() {
  tell("STOPPING=1");
}

void ServiceManager::status(const std::string& text) {
  if (text == last_status_) return;
  last_status_ = text;
  tell("STATUS=" + text);
}

void ServiceManager::extend_timeout(std::chrono::seconds time) {
  tell(fmt::format("EXTEND_TIMEOUT_USEC={}", std::chrono::microseconds(time).count()));
}

void ServiceManager::progress() {
  if (watchdog_.count() == 0 || Clock::now() < next_ping_) return;
  tell("WATCHDOG=1");
  next_ping_ = Clock::now() + watchdog_ / 2;
}

}  // namespace dslad::process
