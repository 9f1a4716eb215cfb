#include "daemon/dispatch/worker_port.h"

#include <fmt/format.h>
#include <utility>

#include "base/utf8.h"

namespace dslad::daemon {
namespace {

// Decodes and passes on; gives the error of decoding.
template <typename Message, typename Take>
Status with(const schema::Envelope& envelope, const Take& take) {
  Result<Message> message = schema::decode<Message>(envelope);
  if (!message) return message.error();
  take(std::move(message).value());
  return ok_status();
}

}  // namespace

void WorkerPort::refuse(const std::string& peer, std::uint64_t id, const Error& error) {
  outbox_.send(peer, schema::encode(schema::ErrorReply{error.code, error.message}, id));
}

void WorkerPort::on_frame(const std::string& peer, std::string frame, const Identity& from) {
  if (!is_worker_(from)) {
    const std::string who =
        from.user ? fmt::format("user {}", from.user->uid) : fmt::format("key {}", from.key);
    const std::string what = fmt::format(
        "{} may not work here; name the user in access.workers, or put the key among those of the workers",
        who);
    strangers_.warning(fmt::format("a worker was turned away: {}", what), clock_.steady_ms());
    return refuse(peer, 0, {ErrorCode::kRefused, what});
  }
  const Result<schema::Envelope> envelope = schema::Envelope::parse(std::move(frame));
  const Status status = envelope ? deliver(peer, *envelope) : Status(envelope.error());
  if (status) return;
  malformed_.warning(fmt::format("a worker sent a malformed message: {}", status.error().message),
                     clock_.steady_ms());
  const std::uint64_t id = envelope ? envelope->id() : 0;
  refuse(peer, id, status.error());
}

Status WorkerPort::deliver(const std::string& peer, const schema::Envelope& envelope) {
  const std::string& kind = envelope.kind();
  if (kind == schema::Heartbeat::kKind) {
    return with<schema::Heartbeat>(envelope,
                                   [&](const auto& message) { dispatcher_.on_heartbeat(peer, message); });
  }
  if (kind == schema::WorkerResult::kKind) {
    return with<schema::WorkerResult>(envelope,
                                      [&](auto message) { dispatcher_.on_result(peer, std::move(message)); });
  }
  if (kind == schema::Hello::kKind) {
    return with<schema::Hello>(
        envelope, [&](auto message) { dispatcher_.on_hello(peer, envelope.id(), std::move(message)); });
  }
  if (kind == schema::PlanResult::kKind) {
    return with<schema::PlanResult>(envelope,
                                    [&](const auto& message) { dispatcher_.on_plan_result(peer, message); });
  }
  if (kind == schema::Room::kKind) {
    return with<schema::Room>(envelope, [&](const auto& message) { dispatcher_.on_room(peer, message); });
  }
  if (kind == schema::PlanTable::kKind) {
    return with<schema::PlanTable>(envelope,
                                   [&](auto message) { dispatcher_.on_plans(peer, std::move(message)); });
  }
  if (kind == schema::Goodbye::kKind) {
    return with<schema::Goodbye>(envelope,
                                 [&](const auto& message) { dispatcher_.on_goodbye(peer, message); });
  }
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("there is no worker message '{}'", utf8_prefix(kind, schema::kMaxShownBytes))};
}

}  // namespace dslad::daemon
