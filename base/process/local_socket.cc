#include "base/process/local_socket.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/stat.h>

#include "base/process/descriptor.h"

namespace dslad::process {

std::size_t longest_socket_path() {
  return sizeof(sockaddr_un::sun_path) - 1;
}

LocalAddress::LocalAddress(const std::string& path) {
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() != '@') return;
  address.sun_path[0] = '\0';
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
}

LocalProbe probe_local_socket(const std::string& path) {
  const bool abstract = path.front() == '@';
  if (!abstract) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0)
      return {errno == ENOENT ? LocalSocket::kAbsent : LocalSocket::kUnknown, errno};
    if (!S_ISSOCK(status.st_mode)) return {LocalSocket::kForeign, 0};
  }
  const LocalAddress address(path);
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) return {LocalSocket::kUnknown, errno};
  if (::connect(probe.get(), address.get(), address.size) == 0) return {LocalSocket::kListening, 0};
  switch (errno) {
    case EAGAIN:  // its backlog is full
    case EINPROGRESS:
      return {LocalSocket::kListening, 0};
    case ECONNREFUSED:
      return {abstract ? LocalSocket::kAbsent : LocalSocket::kDeserted, errno};
    case ENOENT:
      return {LocalSocket::kAbsent, errno};
    default:
      return {LocalSocket::kUnknown, errno};
  }
}

}  // namespace dslad::process
