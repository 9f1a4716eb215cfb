#include "daemon/ctl/connection.h"

#include <cerrno>
#include <fmt/format.h>
#include <string_view>
#include <system_error>
#include <thread>
#include <zmq.hpp>

#include "daemon/ctl/interrupt.h"
#include "schema/process/local_socket.h"

namespace dslad::daemon::ctl {
namespace {

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
  const std::string path = url.substr(process::kIpcScheme.size());
  if (path.empty() || path.size() > process::longest_socket_path()) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("the socket's path in '{}' must have 1 to {} bytes",
                                                          url, process::longest_socket_path())};
  }
  const process::LocalProbe probe = process::probe_local_socket(path);
  switch (probe.what) {
    case process::LocalSocket::kListening:
      return ok_status();
    case process::LocalSocket::kForeign:
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("{} is not a socket; name dslad's jobs socket with --connect URL or DSLAD_CONNECT",
                      path)};
    default:
      return unreachable(url, std::generic_category().message(probe.error));
  }
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
  if (url.starts_with(process::kIpcScheme)) {
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
