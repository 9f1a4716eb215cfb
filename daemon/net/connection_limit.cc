#include "daemon/net/connection_limit.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/process/local_socket.h"
#include "daemon/net/inflow.h"

namespace dslad::daemon {
namespace {

constexpr int kOwn = 64;       // descriptors that no connection gets: database, logs, libzmq's threads
constexpr int kFavoured = 64;  // and those that only workers get

// Set once, before there are connections.
int most_for_all = 1 << 20;
int most_for_favoured = 1 << 20;
std::vector<std::string> favoured_paths;
std::atomic<std::uint64_t> refused{0};

bool is_favoured(int listener) {
  sockaddr_un address{};
  socklen_t size = sizeof(address);
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;
  return address.sun_family == AF_UNIX &&
         std::find(favoured_paths.begin(), favoured_paths.end(), address.sun_path) != favoured_paths.end();
}

}  // namespace

int limit_connections(int most, const std::vector<std::string>& favoured_urls) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return most;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int open = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  most_for_favoured = std::max(0, open - kOwn);
  most_for_all =
      std::min(std::max(0, most_for_favoured - kFavoured), kOwn + most);  // the process has some itself
  const std::string_view scheme = process::kIpcScheme;
  favoured_paths.clear();
  for (const std::string& url : favoured_urls) {
    if (url.starts_with(scheme)) favoured_paths.push_back(url.substr(scheme.size()));
  }
  return std::max(0, most_for_all - kOwn);
}

std::uint64_t connections_refused() {
  return refused;
}

}  // namespace dslad::daemon

// In place of the C library's: see connection_limit.h. Called by libzmq's thread.
extern "C" int accept4(int listener, sockaddr* address, socklen_t* size, int flags) {
  using namespace dslad::daemon;
  const int fd = static_cast<int>(::syscall(SYS_accept4, listener, address, size, flags));
  if (fd < most_for_all || (fd < most_for_favoured && is_favoured(listener))) {
    if (fd >= 0) measure_connection(fd, listener);
    return fd;
  }
  ::close(fd);
  ++refused;
  errno = ECONNABORTED;  // as if the peer had given up
  return -1;
}
