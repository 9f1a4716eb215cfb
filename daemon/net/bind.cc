#include "daemon/net/bind.h"

#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <system_error>
#include <zmq.hpp>

#include "base/process/local_socket.h"
#include "schema/endpoint.h"

namespace dslad::daemon {
namespace {

// ZeroMQ removes whatever stands at the path before it listens there: only a deserted socket may go.
Status check_path(const std::string& url, const std::string& path) {
  const process::LocalProbe probe = process::probe_local_socket(path);
  switch (probe.what) {
    case process::LocalSocket::kAbsent:
    case process::LocalSocket::kDeserted:
      return ok_status();
    case process::LocalSocket::kListening:
      return Error{ErrorCode::kRefused,
                   fmt::format("another process listens on {}; stop it or choose another URL", url)};
    case process::LocalSocket::kForeign:
      return Error{
          ErrorCode::kRefused,
          fmt::format("cannot listen on {}: {} is there already and is no socket; choose another URL", url,
                      path)};
    default:
      return Error{ErrorCode::kUnavailable,
                   fmt::format("cannot listen on {}: what is at {} cannot be told: {}; choose another URL",
                               url, path, std::generic_category().message(probe.error))};
  }
}

Status prepare_ipc(const std::string& url) {
  const std::string path = url.substr(process::kIpcScheme.size());
  if (path.empty() || path.size() > process::longest_socket_path())
    return ok_status();                                        // binding says why not
  if (path == "*" || path.front() == '@') return ok_status();  // no file of that name
  std::error_code code;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, code);
  if (code) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("cannot make {}: {}; choose other URLs with --jobs, --workers "
                             "and --events",
                             folder.string(), code.message())};
  }
  return check_path(url, path);
}

// ZeroMQ looks up the interfaces before it listens on tcp, and aborts where it may not: a sandbox may forbid
// it.
Status check_interfaces(const std::string& url) {
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) {
    return Error{ErrorCode::kUnavailable,
                 fmt::format("cannot listen on {}: the machine's network interfaces cannot be listed: {}; a "
                             "unit's RestrictAddressFamilies must name AF_NETLINK",
                             url, std::generic_category().message(errno))};
  }
  ::freeifaddrs(interfaces);
  return ok_status();
}

Error bind_error(const std::string& url, const zmq::error_t& error) {
  const bool malformed = error.num() == EINVAL || error.num() == EPROTONOSUPPORT;
  return {malformed ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable,
          fmt::format("cannot listen on {}: {}; give ipc://PATH or tcp://ADDRESS:PORT", url, error.what())};
}

}  // namespace

Status bind_socket(zmq::socket_t& socket, const std::string& url, int listener) {
  if (url.starts_with(process::kIpcScheme) && listener < 0) {
    if (Status status = prepare_ipc(url); !status) return status;
  }
  if (schema::is_tcp(url)) {
    if (Status status = check_interfaces(url); !status) return status;
  }
  try {
    if (listener >= 0) socket.set(zmq::sockopt::use_fd, listener);
    socket.bind(url);
  } catch (const zmq::error_t& error) {
    return bind_error(url, error);
  }
  return ok_status();
}

}  // namespace dslad::daemon
