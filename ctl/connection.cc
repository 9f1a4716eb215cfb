#include "ctl/connection.h"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <grp.h>
#include <optional>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <zmq.hpp>

#include "base/process/local_socket.h"
#include "ctl/interrupt.h"
#include "schema/keys/handshakes.h"

namespace dslad::ctl {
namespace {

constexpr std::string_view kRemedy =
    "is dslad running? Start it, or name its jobs socket with --connect URL or DSLAD_CONNECT";

Error unreachable(const std::string& url, std::string_view why) {
  return {ErrorCode::kUnavailable,
          fmt::format("the daemon is not reachable at {}: {}; {}", url, why, kRemedy)};
}

// A daemon that runs, for others: starting it is no help.
Error closed_to_user(const std::string& url, const std::string& path) {
  struct stat about {};
  const group* const owner = ::stat(path.c_str(), &about) == 0 ? ::getgrgid(about.st_gid)
                                                               : nullptr;  // NOLINT(concurrency-mt-unsafe)
  const std::string whom =
      owner != nullptr ? fmt::format("members of the group {}", owner->gr_name) : "others";
  return {ErrorCode::kUnavailable,
          fmt::format("{} is open to {} and not to you; ask the administrator to make you one of them, then "
                      "log in anew, or name another jobs socket with --connect URL or DSLAD_CONNECT",
                      url, whom)};
}

// A daemon that has just been started opens its database before it listens.
constexpr std::chrono::milliseconds kRetry{20};

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
      if (probe.error == EACCES) return closed_to_user(url, path);
      return unreachable(url, std::generic_category().message(probe.error));
  }
}

Status await_local(const std::string& url, std::chrono::milliseconds start_up) {
  const Deadline deadline = std::chrono::steady_clock::now() + start_up;
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
  std::optional<keys::ClientKeys> keys;  // on tcp, as are
  std::optional<keys::Handshakes> handshakes;

  // Why no answer came in time.
  [[nodiscard]] Error silence() {
    if (!keys) return unreachable(url, "no answer came in time");
    switch (handshakes->latest()) {
      case keys::Handshake::kRefused:
        return refused();
      case keys::Handshake::kFailed:
        return {ErrorCode::kUnavailable,
                fmt::format("what answers at {} does not have the key {}; name the daemon's public key with "
                            "--server-key FILE or {}",
                            url, keys->files.server, keys::kServerKeyVariable)};
      case keys::Handshake::kDone:
        return unreachable(url, "no answer came in time");
      default:
        return unreachable(url, fmt::format("nobody has answered to the key {} in time", keys->files.own));
    }
  }

  [[nodiscard]] Error refused() const {
    return {ErrorCode::kRefused,
            fmt::format(
                "the daemon at {} does not know the key {}: its operator can authorise {}, or name another "
                "key with --key FILE or {}",
                url, keys->files.own, keys::public_file_of(keys->files.own).string(), keys::kOwnKeyVariable)};
  }
};

Connection::Connection(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

Result<Connection> Connection::open(const std::string& url, const keys::KeyFiles& files,
                                    std::chrono::milliseconds start_up) {
  Result<std::optional<keys::ClientKeys>> keys = keys::keys_for(url, files);
  if (!keys) return keys.error();
  if (url.starts_with(process::kIpcScheme)) {
    if (Status status = await_local(url, start_up); !status) return status.error();
  }
  try {
    auto socket = std::make_unique<Socket>();
    socket->url = url;
    socket->keys = std::move(keys).value();
    socket->dealer.set(zmq::sockopt::linger, 0);
    if (socket->keys) {
      keys::use_keys(socket->dealer.handle(), *socket->keys);
      socket->handshakes.emplace(socket->context.handle(), socket->dealer.handle());
    }
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
    if (left.count() < 0) return socket_->silence();
    try {
      void* const handshakes = socket_->handshakes ? socket_->handshakes->handle() : nullptr;
      std::array<zmq::pollitem_t, 2> items{
          {{socket_->dealer.handle(), 0, ZMQ_POLLIN, 0}, {handshakes, 0, ZMQ_POLLIN, 0}}};
      if (zmq::poll(items.data(), handshakes == nullptr ? 1 : 2, left) == 0) continue;
      if (handshakes != nullptr && socket_->handshakes->latest() == keys::Handshake::kRefused)
        return socket_->refused();
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

}  // namespace dslad::ctl
