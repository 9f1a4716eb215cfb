#include "daemon/net/zap.h"

#include <array>
#include <utility>
#include <vector>
#include <zmq.hpp>
#include <zmq_addon.hpp>

namespace dslad::daemon {
namespace {

// The frames of a question, in RFC 27's order.
enum Part : std::size_t { kVersion, kRequest, kDomain, kAddress, kRoutingId, kMechanism, kKey };
constexpr std::size_t kKeyBytes = 32;

std::string z85(const zmq::message_t& key) {
  std::array<char, kKeyBytes * 5 / 4 + 1> text{};
  zmq_z85_encode(text.data(), static_cast<const std::uint8_t*>(key.data()), key.size());
  return text.data();
}

bool is_curve(const std::vector<zmq::message_t>& parts) {
  return parts.size() == kKey + 1 && parts[kVersion].to_string_view() == "1.0" &&
         parts[kMechanism].to_string_view() == "CURVE" && parts[kKey].size() == kKeyBytes;
}

}  // namespace

Zap::Zap(std::unique_ptr<zmq::socket_t> socket) : socket_(std::move(socket)) {}
Zap::~Zap() = default;

Result<std::unique_ptr<Zap>> Zap::open(zmq::context_t& context) {
  try {
    auto socket = std::make_unique<zmq::socket_t>(context, zmq::socket_type::rep);
    socket->set(zmq::sockopt::linger, 0);
    socket->bind("inproc://zeromq.zap.01");
    return std::unique_ptr<Zap>(new Zap(std::move(socket)));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kUnavailable, std::string("cannot check keys: ") + error.what()};
  }
}

void Zap::answer(const std::function<bool(const ZapQuestion&)>& lets_in) {
  try {
    while (true) {
      std::vector<zmq::message_t> parts;
      if (!zmq::recv_multipart(*socket_, std::back_inserter(parts), zmq::recv_flags::dontwait)) return;
      const std::string key = is_curve(parts) ? z85(parts[kKey]) : "";
      const bool good =
          !key.empty() && lets_in({parts[kDomain].to_string(), parts[kAddress].to_string(), key});
      const std::string request = parts.size() > kRequest ? parts[kRequest].to_string() : "";
      const std::array<std::string, 6> reply = {
          "1.0", request, good ? "200" : "400", good ? "" : "not authorised", good ? key : "", ""};
      zmq::send_multipart(*socket_,
                          std::array{zmq::buffer(reply[0]), zmq::buffer(reply[1]), zmq::buffer(reply[2]),
                                     zmq::buffer(reply[3]), zmq::buffer(reply[4]), zmq::buffer(reply[5])});
    }
  } catch (const zmq::error_t&) {  // NOLINT(bugprone-empty-catch): interrupted; the next call goes on
  }
}

void* Zap::handle() {
  return socket_->handle();
}

}  // namespace dslad::daemon
