#include "daemon/ctl/connection.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <zmq.hpp>

#include "daemon/ctl/interrupt.h"

namespace dslad::daemon::ctl {
namespace {

constexpr std::string_view kIpc = "ipc://";
constexpr std::string_view kRemedy =
    "is dslad running? Start it, or name its jobs socket with --connect URL or DSLAD_CONNECT";

Error unreachable(const std::string& url, std::string_view why) {
  return {ErrorCode::kUnavailable,
          fmt::format("the daemon is not reachable at {}: {}; {}", url, why, kRemedy)};
}

// A daemon that has just been started opens its database before it listens.
constexpr std::chrono::milliseconds kStartUp{1000}, kRetry{20};

// ZeroMQ retries a missing local socket for ever and tells nobody; the kernel knows at once.
Status probe_local(const std::string& url) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = url.substr(kIpc.size());
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("the socket's path in '{}' must have 1 to {} bytes",
                                                          url, sizeof(address.sun_path) - 1)};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  socklen_t size = sizeof(address);
  if (path.front() == '@') {  // an abstract name, as ZeroMQ spells it
    address.sun_path[0] = '\0';
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return unreachable(url, std::generic_category().message(errno));
  const int status = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), size);
  const int reason = errno;
  ::close(fd);
  if (status == 0 || reason == EAGAIN || reason == EINPROGRESS) return ok_status();  // listening, if busy
  return unreachable(url, std::generic_category().message(reason));
}

Status await_local(const std::string& url) {
  const Deadline deadline = std::chrono::steady_clock::now() + kStartUp;
  for (;;) {
    Status status = probe_local(url);
    const bool absent = !status && status.error().code == ErrorCode::kUnavailable;
    if (!absent || interrupted() || std::chrono::steady_clock::now() >= deadline) return status;
    std::this_thread::sleep_for(kRetry);
  }
}

}  // namespace

struct Connection::Socket {
  std::string url;
  zmq::context_t context{1};
  zmq::socket_t dealer{context, zmq::socket_type::dealer};
};

Connection::Connection(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

Result<Connection> Connection::open(const std::string& url) {
  if (url.starts_with(kIpc)) {
    if (Status status = await_local(url); !status) return status.error();
  }
  try {
    auto socket = std::make_unique<Socket>();
    socket->url = url;
    socket->dealer.set(zmq::sockopt::linger, 0);
    socket->dealer.connect(url);
    return Connection(std::move(socket));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("cannot connect to '{}': {}; give ipc:///path/of/jobs.sock or tcp://host:port",
                             url, error.what())};
  }
}

Status Connection::send(const std::string& frame) {
  try {
    if (socket_->dealer.send(zmq::buffer(frame), zmq::send_flags::dontwait)) return ok_status();
    return unreachable(socket_->url, "it takes no more requests");
  } catch (const zmq::error_t& error) {
    return unreachable(socket_->url, error.what());
  }
}

Result<std::string> Connection::receive(Deadline deadline) {
  while (!interrupted()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() < 0) return unreachable(socket_->url, "no answer came in time");
    try {
      zmq::pollitem_t item{socket_->dealer.handle(), 0, ZMQ_POLLIN, 0};
      if (zmq::poll(&item, 1, left) == 0) continue;
      zmq::message_t message;
      if (socket_->dealer.recv(message, zmq::recv_flags::dontwait)) return message.to_string();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) return unreachable(socket_->url, error.what());
    }
  }
  return Error{ErrorCode::kUnavailable, "interrupted"};
}

const std::string& Connection::url() const {
  return socket_->url;
}

}  // namespace dslad::daemon::ctl
