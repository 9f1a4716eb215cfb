#include "ctl/subscription.h"

#include <cerrno>
#include <fmt/format.h>
#include <vector>
#include <zmq.hpp>
#include <zmq_addon.hpp>

#include "schema/codec.h"

namespace dslad::ctl {

struct Subscription::Socket {
  zmq::context_t context{1};
  zmq::socket_t sub{context, zmq::socket_type::sub};
};

Subscription::Subscription(std::unique_ptr<Socket> socket) : socket_(std::move(socket)) {}
Subscription::Subscription(Subscription&&) noexcept = default;
Subscription::~Subscription() = default;

Result<Subscription> Subscription::open(const std::string& url, const keys::KeyFiles& files) {
  const Result<std::optional<keys::ClientKeys>> keys = keys::keys_for(url, files);
  if (!keys) return keys.error();
  try {
    auto socket = std::make_unique<Socket>();
    socket->sub.set(zmq::sockopt::linger, 0);
    if (*keys) keys::use_keys(socket->sub.handle(), **keys);
    socket->sub.set(zmq::sockopt::subscribe, "");
    socket->sub.connect(url);
    return Subscription(std::move(socket));
  } catch (const zmq::error_t& error) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("cannot connect to the events socket '{}': {}; name it with --events URL", url,
                             error.what())};
  }
}

Result<std::optional<schema::Event>> Subscription::next(std::chrono::milliseconds patience) {
  std::vector<zmq::message_t> frames;
  try {
    zmq::pollitem_t item{socket_->sub.handle(), 0, ZMQ_POLLIN, 0};
    if (zmq::poll(&item, 1, patience) == 0) return std::optional<schema::Event>();
    if (!zmq::recv_multipart(socket_->sub, std::back_inserter(frames))) return std::optional<schema::Event>();
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return std::optional<schema::Event>();
    return Error{ErrorCode::kInternal, fmt::format("events: {}", error.what())};
  }
  if (frames.size() != 2) return Error{ErrorCode::kInternal, "events: expected a topic and a message"};
  const Result<schema::Envelope> envelope = schema::Envelope::parse(frames[1].to_string());
  if (!envelope) return envelope.error().with_context("events");
  Result<schema::Event> event = schema::decode<schema::Event>(*envelope);
  if (!event) return event.error().with_context("events");
  return std::optional(std::move(*event));
}

}  // namespace dslad::ctl
