#include "daemon/net/bind.h"

#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>
#include <zmq.hpp>

namespace dslad::daemon {
namespace {

constexpr std::string_view kIpc = "ipc://";

bool someone_listens(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) return false;  // bind will say that it is too long
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return false;
  const bool connected = ::connect(probe, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(probe);
  return connected;
}

Status prepare_ipc(const std::string& url) {
  const std::string path = url.substr(kIpc.size());
  if (path.empty() || path.front() == '@') return ok_status();  // an abstract address has no file
  std::error_code code;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, code);
  if (code) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("cannot make {}: {}; choose other URLs with --jobs, --workers "
                             "and --events",
                             folder.string(), code.message())};
  }
  if (!someone_listens(path)) return ok_status();
  return Error{ErrorCode::kRefused,
               fmt::format("another process listens on {}; stop it or choose another URL", url)};
}

Error bind_error(const std::string& url, const zmq::error_t& error) {
  const bool malformed = error.num() == EINVAL || error.num() == EPROTONOSUPPORT;
  return {malformed ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable,
          fmt::format("cannot listen on {}: {}; give ipc://PATH or tcp://ADDRESS:PORT", url, error.what())};
}

}  // namespace

Status bind_socket(zmq::socket_t& socket, const std::string& url) {
  if (url.starts_with(kIpc)) {
    if (Status status = prepare_ipc(url); !status) return status;
  }
  try {
    socket.bind(url);
  } catch (const zmq::error_t& error) {
    return bind_error(url, error);
  }
  return ok_status();
}

}  // namespace dslad::daemon
