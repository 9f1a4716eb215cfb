// The process's connections, by what libzmq receives of them.
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <fmt/format.h>
#include <mutex>
#include <netdb.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <unordered_set>

#include "base/process/local_socket.h"
#include "daemon/net/inflow.h"

namespace dslad::daemon {
namespace {

using Steady = std::chrono::steady_clock;

// A daemon that reads nothing for so long does not read what waits.
constexpr std::chrono::milliseconds kPatience{200};

struct Process {
  std::mutex mutex;
  std::condition_variable was_read;
  Inflow inflow;
  std::uint64_t reads = 0;
  // Of connections that are measured, and of those that were cut off, their sockets' numbers: a descriptor
  // whose connection libzmq has closed by itself may be another file's by the time that it is to be cut off.
  std::unordered_map<int, ino_t> sockets;
  std::unordered_set<std::string> subscribers_at;
  std::atomic<std::uint64_t> cut{0};
};

Process& here() {
  static Process only;
  return only;
}

ino_t socket_number(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? status.st_ino : 0;
}

// A listening socket's URL, as libzmq writes it. Empty where the kernel does not say.
std::string url_of(int listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  if (address.ss_family == AF_UNIX)
    return fmt::format("{}{}", process::kIpcScheme, reinterpret_cast<const sockaddr_un&>(address).sun_path);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(), port.data(),
                    port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return {};
  const bool v6 = address.ss_family == AF_INET6;
  return fmt::format("tcp://{}{}{}:{}", v6 ? "[" : "", host.data(), v6 ? "]" : "", port.data());
}

void cut_off(Process& all, const std::vector<int>& connections) {
  for (const int fd : connections) {
    if (socket_number(fd) != all.sockets.at(fd)) continue;
    ::shutdown(fd, SHUT_RDWR);  // wakes libzmq, which then reads its end
    ++all.cut;
  }
}

// Waits while there is no room and the daemon reads. False where the connection has been cut off: nothing
// more of it is read.
bool await_room(int fd) {
  Process& all = here();
  std::unique_lock lock(all.mutex);
  if (!all.sockets.contains(fd)) return true;
  while (all.inflow.has(fd) && !all.inflow.has_room(Steady::now())) {
    const std::uint64_t reads = all.reads;
    if (!all.was_read.wait_for(lock, kPatience, [&] { return all.reads > reads; })) {
      cut_off(all, all.inflow.give_up(Steady::now()));
    }
  }
  return all.inflow.has(fd);
}

void note_end(int fd) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  all.inflow.close(fd, Steady::now());
  all.sockets.erase(fd);
}

void note_arrived(int fd, std::span<const std::byte> bytes) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  cut_off(all, all.inflow.arrived(fd, bytes, Steady::now()));
}

}  // namespace

void limit_inflow(const InflowLimits& limits) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  all.inflow.limit(limits);
}

void expect_subscribers(const std::string& url) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  all.subscribers_at.insert(url);
}

void measure_connection(int fd, int listener) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  all.inflow.open(fd, Steady::now(), all.subscribers_at.contains(url_of(listener)));
  all.sockets[fd] = socket_number(fd);
}

void note_read(int fd, std::size_t bytes) {
  Process& all = here();
  {
    const std::scoped_lock lock(all.mutex);
    all.inflow.read(fd, bytes);
    ++all.reads;
  }
  all.was_read.notify_one();
}

void cut_connection(int fd) {
  Process& all = here();
  const std::scoped_lock lock(all.mutex);
  if (!all.sockets.contains(fd)) return;
  all.inflow.close(fd, Steady::now());
  cut_off(all, {fd});
}

std::uint64_t connections_cut() {
  return here().cut;
}

}  // namespace dslad::daemon

// In place of the C library's: see inflow.h. Of what is no measured connection nothing is changed.
extern "C" ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  using namespace dslad::daemon;
  if (!await_room(fd)) return 0;
  const ssize_t got = ::syscall(SYS_recvfrom, fd, buffer, size, flags, nullptr, nullptr);
  const int error = errno;
  if ((flags & MSG_PEEK) != 0) return got;
  if (got > 0) {
    note_arrived(fd, {static_cast<const std::byte*>(buffer), static_cast<std::size_t>(got)});
  } else if (size > 0 && (got == 0 || (error != EAGAIN && error != EINTR))) {
    note_end(fd);
  }
  errno = error;
  return got;
}
