#include "schema/codec.h"

#include <fmt/format.h>
#include <msgpack.hpp>

#include "base/utf8.h"
#include "schema/care_messages.h"
#include "schema/codec_reader.h"
#include "schema/codec_writer.h"
#include "schema/event.h"
#include "schema/frame_check.h"
#include "schema/policy_messages.h"
#include "schema/worker_messages.h"

namespace dslad::schema {
namespace detail {

// What surrounds a body on the wire.
struct Header {
  std::uint32_t version = 0;
  std::string kind;
  std::uint64_t id = 0;

  static void fields(auto& self, auto& field) {
    field("version", self.version);
    field("kind", self.kind);
    field("id", self.id);
  }
};

}  // namespace detail

namespace {

using detail::Header;

constexpr const char* kBodyKey = "body";

const msgpack::object* find_body(const msgpack::object& frame) {
  for (std::uint32_t i = 0; i < frame.via.map.size; ++i) {
    if (detail::text_of(frame.via.map.ptr[i].key) == kBodyKey) return &frame.via.map.ptr[i].val;
  }
  return nullptr;
}

}  // namespace

struct Envelope::Parsed {
  std::string frame;  // the objects' strings point into it
  msgpack::object_handle root;
  const msgpack::object* body = nullptr;
  Header header;
};

Result<Envelope> Envelope::parse(std::string frame, std::size_t max_bytes) {
  if (frame.size() > max_bytes) {
    return Error{ErrorCode::kResourceExhausted,
                 fmt::format("the frame has {} bytes; at most {} are taken", frame.size(), max_bytes)};
  }
  if (Status status = detail::check_frame(frame); !status) return status.error();
  auto parsed = std::make_shared<Parsed>();
  parsed->frame = std::move(frame);
  try {
    const auto borrow = [](msgpack::type::object_type, std::size_t, void*) { return true; };
    msgpack::unpack(parsed->root, parsed->frame.data(), parsed->frame.size(), borrow);
  } catch (const std::exception& e) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("the frame cannot be unpacked: {}", e.what())};
  }
  Status status = detail::read_struct(parsed->root.get(), parsed->header);
  if (!status) return status.error().with_context("envelope");
  parsed->body = find_body(parsed->root.get());
  if (parsed->header.kind.empty() || parsed->body == nullptr) {
    return Error{ErrorCode::kInvalidArgument, "envelope: needs the keys version, kind, id and body"};
  }
  return Envelope(std::move(parsed));
}

std::uint32_t Envelope::version() const {
  return parsed_->header.version;
}
const std::string& Envelope::kind() const {
  return parsed_->header.kind;
}
std::uint64_t Envelope::id() const {
  return parsed_->header.id;
}

template <typename Message>
Result<Message> decode(const Envelope& envelope) {
  if (envelope.version() != kProtocolVersion) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("protocol version {} is not spoken here; use {}",
                                                          envelope.version(), kProtocolVersion)};
  }
  if (envelope.kind() != Message::kKind) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("expected a message of kind {}, got '{}'", Message::kKind,
                             utf8_prefix(envelope.kind(), kMaxShownBytes))};
  }
  Message message;
  Status status = detail::read_struct(*envelope.parsed_->body, message);
  if constexpr (requires { message.validate(); }) {
    if (status) status = message.validate();
  }
  if (!status) return status.error().with_context(Message::kKind);
  return message;
}

template <typename Message>
std::string encode(const Message& message, std::uint64_t id) {
  msgpack::sbuffer buffer;
  detail::Writer writer(buffer);
  writer.map_header(4);
  const Header header{kProtocolVersion, Message::kKind, id};
  Header::fields(header, writer);
  writer(kBodyKey, message);
  return {buffer.data(), buffer.size()};
}

#define DSLAD_MESSAGE(Message)                                         \
  template std::string encode<Message>(const Message&, std::uint64_t); \
  template Result<Message> decode<Message>(const Envelope&);

DSLAD_MESSAGE(Submit)
DSLAD_MESSAGE(GetStatus)
DSLAD_MESSAGE(ListJobs)
DSLAD_MESSAGE(CountJobs)
DSLAD_MESSAGE(GetJob)
DSLAD_MESSAGE(GetResult)
DSLAD_MESSAGE(Wait)
DSLAD_MESSAGE(Cancel)
DSLAD_MESSAGE(Requeue)
DSLAD_MESSAGE(Purge)
DSLAD_MESSAGE(SetQueueMode)
DSLAD_MESSAGE(GetLayers)
DSLAD_MESSAGE(ShowPlan)
DSLAD_MESSAGE(SetPlan)
DSLAD_MESSAGE(ShowPolicy)
DSLAD_MESSAGE(SetPolicy)
DSLAD_MESSAGE(ExplainJob)
DSLAD_MESSAGE(GetPolicyHistory)
DSLAD_MESSAGE(GetStats)
DSLAD_MESSAGE(Ping)
DSLAD_MESSAGE(ErrorReply)
DSLAD_MESSAGE(Submitted)
DSLAD_MESSAGE(DaemonStatus)
DSLAD_MESSAGE(JobInfo)
DSLAD_MESSAGE(JobList)
DSLAD_MESSAGE(JobCounts)
DSLAD_MESSAGE(JobResult)
DSLAD_MESSAGE(WaitReply)
DSLAD_MESSAGE(CancelReply)
DSLAD_MESSAGE(RequeueReply)
DSLAD_MESSAGE(PurgeReply)
DSLAD_MESSAGE(QueueReply)
DSLAD_MESSAGE(LayersReply)
DSLAD_MESSAGE(PlanReply)
DSLAD_MESSAGE(PolicyReply)
DSLAD_MESSAGE(JobVerdict)
DSLAD_MESSAGE(PolicyHistory)
DSLAD_MESSAGE(StatsReply)
DSLAD_MESSAGE(Pong)
DSLAD_MESSAGE(BeginBackup)
DSLAD_MESSAGE(ShowBackup)
DSLAD_MESSAGE(ReadBackup)
DSLAD_MESSAGE(EndBackup)
DSLAD_MESSAGE(BeginIntegrity)
DSLAD_MESSAGE(ShowIntegrity)
DSLAD_MESSAGE(BackupReply)
DSLAD_MESSAGE(BackupPiece)
DSLAD_MESSAGE(IntegrityReply)
DSLAD_MESSAGE(Hello)
DSLAD_MESSAGE(PlanTable)
DSLAD_MESSAGE(Room)
DSLAD_MESSAGE(Heartbeat)
DSLAD_MESSAGE(WorkerResult)
DSLAD_MESSAGE(PlanResult)
DSLAD_MESSAGE(Goodbye)
DSLAD_MESSAGE(Welcome)
DSLAD_MESSAGE(HeartbeatAck)
DSLAD_MESSAGE(Assign)
DSLAD_MESSAGE(CancelLease)
DSLAD_MESSAGE(SetWorkerPlan)
DSLAD_MESSAGE(ResultAck)
DSLAD_MESSAGE(IdleWork)
DSLAD_MESSAGE(WhoAreYou)
DSLAD_MESSAGE(Drain)
DSLAD_MESSAGE(Event)

#undef DSLAD_MESSAGE

}  // namespace dslad::schema
