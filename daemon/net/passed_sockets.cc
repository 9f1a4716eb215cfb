#include "daemon/net/passed_sockets.h"

#include <algorithm>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/process/local_socket.h"

namespace dslad::daemon {
namespace {

std::string path_of(int fd) {
  if (::sd_is_socket_unix(fd, SOCK_STREAM, 1, nullptr, 0) <= 0) return {};
  sockaddr_un address{};
  socklen_t size = sizeof(address);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return address.sun_path;
}

}  // namespace

PassedSockets PassedSockets::take() {
  PassedSockets sockets;
  const int count = ::sd_listen_fds(1);  // sets close-on-exec on each
  for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + std::max(0, count); ++fd)
    sockets.passed_.push_back({fd, path_of(fd)});
  return sockets;
}

int PassedSockets::claim(const std::string& url) {
  if (!url.starts_with(process::kIpcScheme)) return -1;
  const std::string path = url.substr(process::kIpcScheme.size());
  for (auto passed = passed_.begin(); passed != passed_.end(); ++passed) {
    if (passed->path.empty() || passed->path != path) continue;
    const int fd = passed->fd;
    passed_.erase(passed);
    return fd;
  }
  return -1;
}

Status PassedSockets::all_claimed() const {
  if (passed_.empty()) return ok_status();
  const Passed& first = passed_.front();
  if (first.path.empty()) {
    return Error{ErrorCode::kRefused, fmt::format("the service manager passed descriptor {}, which is not a "
                                                  "listening local stream socket; mend its socket unit",
                                                  first.fd)};
  }
  return Error{
      ErrorCode::kRefused,
      fmt::format("the service manager passed a socket at {}, and no setting names it; let listen.jobs, "
                  "listen.workers or listen.events be ipc://{}, or disable its socket unit",
                  first.path, first.path)};
}

}  // namespace dslad::daemon
