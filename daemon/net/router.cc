#include "daemon/net/router.h"

#include <utility>
#include <vector>
#include <zmq.hpp>

#include "daemon/net/bind.h"

namespace dslad::daemon {
namespace {

constexpr char kDealer = 'D';
constexpr char kReq = 'R';
constexpr int kLingerMs = 500;  // for the last replies when the daemon stops

std::string text_of(const zmq::message_t& part) {
  return {static_cast<const char*>(part.data()), part.size()};
}

// The rest of the message whose first frame, the identity, was read.
std::vector<zmq::message_t> read_rest(zmq::socket_t& socket, const zmq::message_t& first) {
  std::vector<zmq::message_t> parts;
  bool more = first.more();
  while (more) {
    zmq::message_t part;
    if (!socket.recv(part, zmq::recv_flags::dontwait)) break;
    more = part.more();
    if (parts.size() < 3) parts.push_back(std::move(part));  // three are too many already
  }
  return parts;
}

}  // namespace

Router::Router(std::unique_ptr<zmq::socket_t> socket) : socket_(std::move(socket)) {}
Router::~Router() = default;

Result<std::unique_ptr<Router>> Router::bind(zmq::context_t& context, const std::string& url,
                                             std::size_t max_bytes, int frames_in, int frames_out) {
  try {
    auto socket = std::make_unique<zmq::socket_t>(context, zmq::socket_type::router);
    socket->set(zmq::sockopt::router_mandatory, true);
    socket->set(zmq::sockopt::router_handover, true);  // a peer that reconnects takes its name with it
    socket->set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(max_bytes));
    socket->set(zmq::sockopt::rcvhwm, frames_in);
    socket->set(zmq::sockopt::sndhwm, frames_out);
    socket->set(zmq::sockopt::linger, kLingerMs);
    if (Status status = bind_socket(*socket, url); !status) return status.error();
    return std::unique_ptr<Router>(new Router(std::move(socket)));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kUnavailable, url + ": " + error.what()};
  }
}

std::optional<Received> Router::receive() {
  try {
    zmq::message_t identity;
    if (!socket_->recv(identity, zmq::recv_flags::dontwait)) return std::nullopt;
    const std::vector<zmq::message_t> parts = read_rest(*socket_, identity);
    const bool req = parts.size() == 2 && parts[0].empty();
    const bool dealer = parts.size() == 1;
    const std::string frame = req || dealer ? text_of(parts.back()) : std::string();
    return Received{(req ? kReq : kDealer) + text_of(identity), frame};
  } catch (const zmq::error_t&) {  // interrupted by a signal: nothing was read
    return std::nullopt;
  }
}

bool Router::send(const std::string& peer, std::string frame) {
  try {
    const std::string_view identity = std::string_view(peer).substr(1);
    const auto flags = zmq::send_flags::sndmore | zmq::send_flags::dontwait;
    if (!socket_->send(zmq::buffer(identity), flags)) return false;
    if (peer.front() == kReq && !socket_->send(zmq::message_t(), flags)) return false;
    return socket_->send(zmq::buffer(frame), zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t&) {  // the peer has gone
    return false;
  }
}

void* Router::handle() {
  return socket_->handle();
}

}  // namespace dslad::daemon
