// What stands at the path of a local (AF_UNIX) socket. ZeroMQ removes whatever stands where it listens, and
// waits for ever for a peer that is not there; whoever opens a socket asks here first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>

namespace dslad::process {

enum class LocalSocket : std::uint8_t {
  kAbsent,     // nothing is there
  kDeserted,   // a socket, and nobody listens
  kListening,  // somebody listens, however busy
  kForeign,    // something that is no socket
  kUnknown,    // the kernel does not say: see `error`
};

struct LocalProbe {
  LocalSocket what = LocalSocket::kUnknown;
  int error = 0;  // errno, of kAbsent, kDeserted and kUnknown
};

inline constexpr std::string_view kIpcScheme = "ipc://";

// The longest path that a local socket can have, in bytes.
std::size_t longest_socket_path();

// Where a socket of this path is, for the kernel. `path` as for probe_local_socket.
struct LocalAddress {
  explicit LocalAddress(const std::string& path);
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }

  sockaddr_un address{};
  socklen_t size = sizeof(address);
};

// `path` may be an abstract name, spelt with a leading @ as ZeroMQ does. REQUIRES: it is not empty and not
// longer than longest_socket_path().
LocalProbe probe_local_socket(const std::string& path);

}  // namespace dslad::process
