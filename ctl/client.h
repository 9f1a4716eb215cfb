// The daemon as an object: each call sends one request and returns its typed reply. Not thread-safe.
//
// Errors of every call: kUnavailable means that nobody answered, and only that: an answer which says so
// itself comes back as kRefused. kInvalidArgument where the request is beyond the protocol's bounds.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ctl/connection.h"
#include "ctl/verb.h"
#include "schema/codec.h"

namespace dslad::ctl {

class Client {
 public:
  // Where nobody listens yet, a daemon that has just been started has `start_up` to do so.
  static Result<Client> open(const Globals& globals,
                             std::chrono::milliseconds start_up = Connection::kStartUp);

  // Is asked every now and then while an answer is awaited; false gives up, as Ctrl-C does.
  void while_waiting(std::function<bool()> go_on) { go_on_ = std::move(go_on); }

  // Gives up after `timeout`; by default after the globals' rpc_timeout.
  template <typename Reply, typename Request>
  Result<Reply> call(const Request& request, std::optional<std::chrono::milliseconds> timeout = {}) {
    const Result<schema::Envelope> answer = exchange(request, timeout);
    if (!answer) return answer.error();
    Result<Reply> reply = schema::decode_reply<Reply>(*answer);
    if (!reply) return refusal(*answer, reply.error());
    return reply;
  }

  // For those who try again: kUnavailable also where the daemon says so itself, because it stops.
  template <typename Reply, typename Request>
  Result<Reply> try_call(const Request& request, std::chrono::milliseconds timeout) {
    const Result<schema::Envelope> answer = exchange(request, timeout);
    if (!answer) return answer.error();
    return schema::decode_reply<Reply>(*answer);
  }

 private:
  Client(Connection connection, std::chrono::milliseconds timeout);

  template <typename Request>
  Result<schema::Envelope> exchange(const Request& request,
                                    std::optional<std::chrono::milliseconds> timeout) {
    const std::uint64_t id = ++last_id_;
    return exchange(schema::encode(request, id), id, timeout.value_or(timeout_));
  }
  // Sends `frame` and returns the answer to `id`; late answers to earlier requests are dropped.
  Result<schema::Envelope> exchange(const std::string& frame, std::uint64_t id,
                                    std::chrono::milliseconds timeout);
  Result<std::string> receive(Deadline deadline);
  static Error refusal(const schema::Envelope& answer, const Error& error);

  Connection connection_;
  std::chrono::milliseconds timeout_;
  std::uint64_t last_id_ = 0;
  std::function<bool()> go_on_;
};

}  // namespace dslad::ctl
