// A frame as it comes from the network, read as each message that a peer may send or answer.
#include "schema/care_messages.h"
#include "schema/client_messages.h"
#include "schema/codec.h"
#include "schema/event.h"
#include "schema/policy_messages.h"
#include "schema/worker_messages.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace dslad::schema;

// What is taken, encoded and taken again, is the same.
template <typename Message>
void read_as(const Envelope& envelope) {
  if (envelope.kind() != Message::kKind) return;
  const auto message = decode<Message>(envelope);
  if (!message) return;
  const std::string again = encode(*message, envelope.id());
  const auto parsed = Envelope::parse(again);
  if (!parsed) return;  // longer than a frame, where the defaults are written out
  const auto same = decode<Message>(*parsed);
  if (!same || encode(*same, envelope.id()) != again) std::abort();
}

template <typename... Messages>
void read_as_any(const Envelope& envelope) {
  (read_as<Messages>(envelope), ...);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto envelope = Envelope::parse(std::string(dslad::fuzz::text_of(data, size)));
  if (!envelope) return 0;
  read_as_any<Submit, GetStatus, ListJobs, CountJobs, GetJob, GetResult, Wait, Cancel, Requeue, Purge,
              SetQueueMode, GetLayers, ShowPlan, SetPlan, ShowPolicy, SetPolicy, ExplainJob, GetPolicyHistory,
              GetStats, Ping, BeginBackup, ShowBackup, ReadBackup, EndBackup, BeginIntegrity, ShowIntegrity>(
      *envelope);                                                                                // clients'
  read_as_any<Hello, PlanTable, Room, Heartbeat, WorkerResult, PlanResult, Goodbye>(*envelope);  // workers'
  read_as_any<Welcome, HeartbeatAck, Assign, CancelLease, SetWorkerPlan, ResultAck, IdleWork, WhoAreYou,
              Drain>(*envelope);
  read_as_any<ErrorReply, Submitted, DaemonStatus, JobInfo, JobList, JobCounts, JobResult, WaitReply,
              CancelReply, RequeueReply, PurgeReply, QueueReply, LayersReply, PlanReply, PolicyReply,
              JobVerdict, PolicyHistory, StatsReply, Pong, BackupReply, BackupPiece, IntegrityReply, Event>(
      *envelope);
  return 0;
}
