#include "daemon/net/publisher.h"

#include <fmt/format.h>
#include <utility>
#include <zmq.hpp>

#include "base/process/log.h"
#include "daemon/net/bind.h"
#include "daemon/net/inflow.h"
#include "schema/codec.h"
#include "schema/endpoint.h"

namespace dslad::daemon {
namespace {

constexpr std::int64_t kPatienceMs = 5'000;  // until it is said that a port is not given back

}  // namespace

struct Publisher::Door {
  std::string url;                   // with the port that it got
  zmq::socket_t socket;              // none while it cannot be listened at
  std::int64_t silent_since_ms = 0;  // steady; 0: it is listened at
  bool told = false;                 // of its silence
};

Publisher::Publisher(zmq::context_t& context, ServerCurve curve)
    : context_(context), curve_(std::move(curve)) {}
Publisher::~Publisher() = default;

Result<std::unique_ptr<Publisher>> Publisher::bind(zmq::context_t& context, const std::string& urls,
                                                   const ServerCurve& curve, PassedSockets& passed) {
  std::unique_ptr<Publisher> publisher(new Publisher(context, curve));
  for (const std::string& url : schema::split_urls(urls)) {
    Door& door = publisher->doors_.emplace_back(Door{.url = url, .socket = {}});
    if (Status status = publisher->open(door, passed.claim(url)); !status) return status.error();
  }
  return publisher;
}

Status Publisher::open(Door& door, int listener) {
  try {
    zmq::socket_t socket(context_, zmq::socket_type::pub);
    socket.set(zmq::sockopt::linger, 0);
    if (Status status = secure(socket, door.url, curve_); !status) return status;
    if (Status status = bind_socket(socket, door.url, listener); !status) return status;
    const std::string bound = socket.get(zmq::sockopt::last_endpoint);
    expect_subscribers(bound);
    if (schema::is_tcp(door.url)) door.url = bound;
    door.socket = std::move(socket);
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kUnavailable, door.url + ": " + error.what()};
  }
  return ok_status();
}

// ZeroMQ has no way to end the connection of one peer.
void Publisher::let_in_anew() {
  for (Door& door : doors_) {
    if (needs_keys(door.url)) door.socket.close();
  }
}

void Publisher::tick(std::int64_t now_ms) {
  for (Door& door : doors_) {
    if (door.socket.handle() != nullptr) continue;
    const Status opened = open(door, -1);
    if (opened) {
      door.silent_since_ms = 0;
      door.told = false;
      continue;
    }
    if (door.silent_since_ms == 0) door.silent_since_ms = now_ms;
    if (door.told || now_ms - door.silent_since_ms < kPatienceMs) continue;
    door.told = true;
    process::log_error(fmt::format("no events at {} until it can be listened at again: {}", door.url,
                                   opened.error().message));
  }
}

void Publisher::on_event(const schema::Event& event) {
  const std::string frame = schema::encode(event);
  for (Door& door : doors_) {
    try {
      door.socket.send(zmq::buffer(event.topic), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
      door.socket.send(zmq::buffer(frame), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): events are lossy by contract
    }
  }
}

}  // namespace dslad::daemon
