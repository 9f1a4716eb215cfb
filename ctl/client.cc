#include "ctl/client.h"

#include <algorithm>
#include <fmt/format.h>

#include "ctl/interrupt.h"
#include "schema/limits.h"

namespace dslad::ctl {

Result<Client> Client::open(const Globals& globals, std::chrono::milliseconds start_up) {
  Result<Connection> connection = Connection::open(globals.url, globals.keys, start_up);
  if (!connection) return connection.error();
  return Client(std::move(*connection), globals.rpc_timeout());
}

Client::Client(Connection connection, std::chrono::milliseconds timeout)
    : connection_(std::move(connection)), timeout_(timeout) {}

Result<schema::Envelope> Client::exchange(const std::string& frame, std::uint64_t id,
                                          std::chrono::milliseconds timeout) {
  if (frame.size() > schema::kMaxFrameBytes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("the request has {} bytes; the daemon takes at most {}: split it", frame.size(),
                             schema::kMaxFrameBytes)};
  }
  if (Status status = connection_.send(frame); !status) return status.error();
  const Deadline deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    Result<std::string> answer = receive(deadline);
    if (!answer) return answer.error();
    Result<schema::Envelope> envelope = schema::Envelope::parse(std::move(*answer));
    if (!envelope) {
      return Error{ErrorCode::kInternal, fmt::format("what answers at {} does not speak dslad's protocol: {}",
                                                     connection_.url(), envelope.error().message)};
    }
    // Number 0 with an error: the daemon could not read as far as the request's number.
    const bool unread = envelope->id() == 0 && envelope->kind() == schema::ErrorReply::kKind;
    if (envelope->id() == id || unread) return envelope;
  }
}

Result<std::string> Client::receive(Deadline deadline) {
  if (!go_on_) return connection_.receive(deadline);
  constexpr std::chrono::milliseconds kGlance{50};
  for (;;) {
    const Deadline glance = std::min(deadline, std::chrono::steady_clock::now() + kGlance);
    Result<std::string> answer = connection_.receive(glance);
    const bool silent = !answer && answer.error().code == ErrorCode::kUnavailable;
    if (!silent || !go_on_() || interrupted() || glance == deadline) return answer;
  }
}

// Of an answer that was an error, or that is not understood.
Error Client::refusal(const schema::Envelope& answer, const Error& error) {
  if (answer.kind() != schema::ErrorReply::kKind) {
    return {ErrorCode::kInternal,
            fmt::format("the daemon's answer is not understood: {}; are dslactl and dslad of one version?",
                        error.message)};
  }
  return {error.code == ErrorCode::kUnavailable ? ErrorCode::kRefused : error.code, error.message};
}

}  // namespace dslad::ctl
