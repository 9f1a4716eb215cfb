#include "daemon/service/publisher.h"

#include <utility>
#include <zmq.hpp>

#include "daemon/net/bind.h"
#include "schema/codec.h"

namespace dslad::daemon {

Publisher::Publisher(std::unique_ptr<zmq::socket_t> socket) : socket_(std::move(socket)) {}
Publisher::~Publisher() = default;

Result<std::unique_ptr<Publisher>> Publisher::bind(zmq::context_t& context, const std::string& url,
                                                   const ServerCurve& curve, int listener) {
  try {
    auto socket = std::make_unique<zmq::socket_t>(context, zmq::socket_type::pub);
    socket->set(zmq::sockopt::linger, 0);
    if (Status status = secure(*socket, url, curve); !status) return status.error();
    if (Status status = bind_socket(*socket, url, listener); !status) return status.error();
    return std::unique_ptr<Publisher>(new Publisher(std::move(socket)));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kUnavailable, url + ": " + error.what()};
  }
}

void Publisher::on_event(const schema::Event& event) {
  try {
    socket_->send(zmq::buffer(event.topic), zmq::send_flags::sndmore | zmq::send_flags::dontwait);
    socket_->send(zmq::buffer(schema::encode(event)), zmq::send_flags::dontwait);
  } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): events are lossy by contract
  }
}

}  // namespace dslad::daemon
