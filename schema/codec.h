// Messages to frames and back. A frame is one msgpack map {"version", "kind", "id", "body"}; a body is a map
// with string keys. Unknown keys are skipped, absent ones leave the struct's default, everything else that is
// off (size, depth, type, range, duplicate key, bad UTF-8, a message's own validate()) is an Error; no input
// throws or crashes.
//
// Types say first what is asked (SetPlan) and kinds first of what (plan_set), so that either sorts well where
// it stands. Clients and workers have kinds of their own: `cancel` is Cancel to the daemon and CancelLease to
// a worker, and what is plan_set to the daemon is set_plan to a worker (SetWorkerPlan). The wire keeps its
// words.
//
// A message M has `kKind` and `fields(self, field)`, where field(key, member) is called once a member;
// optional members without a value are left out of the frame. encode and decode are instantiated for the
// messages of messages.h in codec.cc, so that no other file compiles msgpack. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "schema/client_messages.h"
#include "schema/limits.h"

namespace dslad::schema {

// `id` is the sender's own number for the request; its reply repeats it.
template <typename Message>
std::string encode(const Message& message, std::uint64_t id = 0);

// A parsed frame: bounded and well-formed, the body not yet looked at. Cheap to copy.
class Envelope {
 public:
  // Errors: kResourceExhausted above a bound, kInvalidArgument for the rest.
  static Result<Envelope> parse(std::string frame, std::size_t max_bytes = kMaxFrameBytes);

  [[nodiscard]] std::uint32_t version() const;
  [[nodiscard]] const std::string& kind() const;
  [[nodiscard]] std::uint64_t id() const;

 private:
  template <typename Message>
  friend Result<Message> decode(const Envelope&);
  struct Parsed;
  explicit Envelope(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

// kInvalidArgument where the envelope is of another kind or version, or its body is no valid Message.
template <typename Message>
Result<Message> decode(const Envelope& envelope);

// For the asking side: an ErrorReply becomes the Error that it carries.
template <typename Message>
Result<Message> decode_reply(const Envelope& envelope) {
  if (envelope.kind() != ErrorReply::kKind) return decode<Message>(envelope);
  Result<ErrorReply> reply = decode<ErrorReply>(envelope);
  if (!reply) return reply.error();
  return Error{reply->code, std::move(reply->message)};
}

}  // namespace dslad::schema
