#include "schema/keys/handshakes.h"

#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <string>
#include <zmq.h>

namespace dslad::keys {
namespace {

constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                        ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;

// The event's number; 0 where there is none to be read.
int next_event(void* monitor) {
  zmq_msg_t part;
  zmq_msg_init(&part);
  std::uint16_t event = 0;
  const int size = zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT);
  if (size >= static_cast<int>(sizeof(event))) std::memcpy(&event, zmq_msg_data(&part), sizeof(event));
  while (size >= 0 && zmq_msg_more(&part) != 0 && zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) >= 0) {
  }
  zmq_msg_close(&part);
  return event;
}

}  // namespace

Handshakes::Handshakes(void* context, void* socket) : socket_(socket) {
  static std::atomic<int> last{0};
  const std::string address = fmt::format("inproc://handshakes-{}", ++last);
  if (zmq_socket_monitor(socket, address.c_str(), kEvents) != 0) return;
  monitor_ = zmq_socket(context, ZMQ_PAIR);
  const int none = 0;
  if (monitor_ == nullptr) return;
  zmq_setsockopt(monitor_, ZMQ_LINGER, &none, sizeof(none));
  zmq_setsockopt(monitor_, ZMQ_RCVHWM, &none, sizeof(none));  // ZeroMQ's thread would wait for a reader
  if (zmq_connect(monitor_, address.c_str()) == 0) return;
  zmq_close(monitor_);
  monitor_ = nullptr;
}

Handshakes::~Handshakes() {
  zmq_socket_monitor(socket_, nullptr, 0);
  if (monitor_ != nullptr) zmq_close(monitor_);
}

Handshake Handshakes::latest() {
  if (monitor_ == nullptr) return latest_;
  while (const int event = next_event(monitor_)) {
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) latest_ = Handshake::kDone;
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) latest_ = Handshake::kRefused;
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL || event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL)
      latest_ = Handshake::kFailed;
  }
  return latest_;
}

}  // namespace dslad::keys
