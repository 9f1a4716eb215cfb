#include "daemon/service/publisher.h"

#include <utility>
#include <zmq.hpp>

#include "daemon/net/bind.h"
#include "schema/codec.h"
#include "schema/endpoint.h"

namespace dslad::daemon {

Publisher::Publisher(std::vector<zmq::socket_t> sockets) : sockets_(std::move(sockets)) {}
Publisher::~Publisher() = default;

Result<std::unique_ptr<Publisher>> Publisher::bind(zmq::context_t& context, const std::string& urls,
                                                   const ServerCurve& curve, PassedSockets& passed) {
  std::vector<zmq::socket_t> sockets;
  for (const std::string& url : schema::split_urls(urls)) {
    try {
      zmq::socket_t& socket = sockets.emplace_back(context, zmq::socket_type::pub);
      socket.set(zmq::sockopt::linger, 0);
      if (Status status = secure(socket, url, curve); !status) return status.error();
      if (Status status = bind_socket(socket, url, passed.claim(url)); !status) return status.error();
    } catch (const zmq::error_t& error) {
      return Error{ErrorCode::kUnavailable, url + ": " + error.what()};
    }
  }
  return std::unique_ptr<Publisher>(new Publisher(std::move(sockets)));
}

void Publisher::on_event(const schema::Event& event) {
  const std::string frame = schema::encode(event);
  for (zmq::socket_t& socket : sockets_) {
    try {
      socket.send(zmq::buffer(event.topic), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
      socket.send(zmq::buffer(frame), zmq::send_flags::dontwait);
    } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): events are lossy by contract
    }
  }
}

}  // namespace dslad::daemon
