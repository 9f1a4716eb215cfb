// Who gets which job, and what becomes of it.
#include "daemon/dispatch/dispatcher.h"

#include <gmock/gmock.h>

#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using Dispatch = test::DispatcherTest;

TEST_F(Dispatch, HelloIsWelcomedWithTheLeaseTimes) {
  connect("w");
  const auto welcome = outbox_.take<schema::Welcome>("w");
  ASSERT_EQ(welcome.size(), 1U);
  EXPECT_EQ(welcome[0].lease_ms, 2'000U);
  EXPECT_EQ(welcome[0].heartbeat_ms, 500U);
  EXPECT_EQ(events_.of(schema::kTopicWorkerUp).size(), 1U);
}

TEST_F(Dispatch, QueuedJobGoesToAWorkerThatConnectsLater) {
  const JobId id = submit();
  connect("w");
  EXPECT_THAT(assigned("w"), testing::ElementsAre(Lease{id, 1}));
  EXPECT_EQ(state(id), JobState::kRunning);
}

TEST_F(Dispatch, WorkerNeverHoldsMoreThanItsCapacity) {
  connect("w", 2);
  for (int i = 0; i < 5; ++i) submit();
  const std::vector<Lease> leases = assigned("w");
  ASSERT_EQ(leases.size(), 2U);
  dispatcher_.on_result("w", test::success(leases[0]));
  EXPECT_EQ(assigned("w").size(), 1U);
}

// A worker that tells what it has begun holds little that it has not: whose turn it is stays open.
TEST_F(Dispatch, UrgentJobPassesThoseThatNoWorkerHasBegun) {
  schema::Hello worker = hello("w", "w", 16);
  worker.room = 2;
  dispatcher_.on_hello("w", 1, worker);
  for (int i = 0; i < 8; ++i) submit();
  const std::vector<Lease> first = assigned("w");
  ASSERT_EQ(first.size(), 2U);
  schema::JobRequest urgent = test::summarize();
  urgent.priority = 9;
  const JobId id = submit(urgent);
  EXPECT_TRUE(assigned("w").empty());
  dispatcher_.on_room("w", {{first[0]}, 2});
  EXPECT_THAT(assigned("w"), testing::ElementsAre(Lease{id, 1}));
  EXPECT_EQ(dispatcher_.workers().at(0).running, 3U);
  EXPECT_EQ(dispatcher_.workers().at(0).begun, 1U);
}

TEST_F(Dispatch, RoomIsWithinTheCapacityAndHeartbeatsTellItAgain) {
  schema::Hello worker = hello("w", "w", 3);
  worker.room = 1;
  dispatcher_.on_hello("w", 1, worker);
  for (int i = 0; i < 8; ++i) submit();
  const std::vector<Lease> first = assigned("w");
  ASSERT_EQ(first.size(), 1U);
  schema::Heartbeat heartbeat;  // in place of a Room that was lost
  heartbeat.leases = {{first[0], {schema::Phase::kPrefill, 0, 0, 0}}};
  heartbeat.room = 8;
  dispatcher_.on_heartbeat("w", heartbeat);
  EXPECT_EQ(assigned("w").size(), 2U);
}

TEST_F(Dispatch, JobTooLargeForItsWorkerGoesToALargerOne) {
  const auto sized = [](const std::string& name, std::uint32_t context) {
    schema::Hello message = hello(name, name);
    message.context = context;
    return message;
  };
  dispatcher_.on_hello("small", 1, sized("small", 512));
  const JobId id = submit();
  dispatcher_.on_hello("large", 1, sized("large", 4'096));
  schema::WorkerResult refusal = test::failure({id, 1}, ErrorCode::kInvalidArgument);
  refusal.needs_context = 900;
  dispatcher_.on_result("small", refusal);
  EXPECT_THAT(assigned("large"), testing::ElementsAre(Lease{id, 2}));
  refusal.lease.attempt = 2;
  refusal.needs_context = 9'000;
  dispatcher_.on_result("large", refusal);
  EXPECT_EQ(state(id), JobState::kFailed);
}

TEST_F(Dispatch, WorkerThatServesNothingOfWhatWaitsDoesNotKeepOthersFromIt) {
  schema::JobRequest job = test::summarize();
  job.terms.model = "huge";
  connect("w");
  const JobId id = submit(job);
  EXPECT_TRUE(assigned("w").empty());
  schema::Hello huge = hello("h", "h");
  huge.model = "huge";
  huge.model_digest = "d2";
  dispatcher_.on_hello("h", 1, huge);
  EXPECT_THAT(assigned("h"), testing::ElementsAre(Lease{id, 1}));
}

TEST_F(Dispatch, DeadlinesMoveWithAClockThatJumps) {
  dispatcher_.tick();
  schema::JobRequest job = test::summarize();
  job.expires_in_ms = 60'000;
  job.terms.deadline_in_ms = 30'000;
  const JobId id = submit(job);
  clock_.jump(3'600'000);
  pass(1'100);
  EXPECT_EQ(state(id), JobState::kQueued);
  EXPECT_EQ(info(id).deadline_ms - clock_.wall_ms(), 30'000 - 1'100);
  clock_.jump(-7'200'000);
  pass(50'000);
  EXPECT_EQ(state(id), JobState::kQueued);
  pass(10'000);
  EXPECT_EQ(state(id), JobState::kExpired);
}

TEST_F(Dispatch, ShortQueueSpreadsOverWorkers) {
  connect("a", 1);
  connect("b", 8);
  connect("c", 8);
  const std::vector<schema::JobRequest> batch(5, test::summarize());
  test::must(test::enqueue_jobs(db_, batch, {}, clock_.wall_ms()));
  dispatcher_.jobs_queued();
  EXPECT_EQ(assigned("a").size(), 1U);
  EXPECT_EQ(assigned("b").size(), 2U);
  EXPECT_EQ(assigned("c").size(), 2U);
}

TEST_F(Dispatch, JobsOnADocumentGoToTheWorkerThatHasReadIt) {
  connect("a", 1);
  connect("b", 1);
  std::vector<schema::JobRequest> batch;
  for (const char* document : {"X", "Y", "Y", "X", "Y", "X"}) batch.push_back(test::summarize(document));
  test::must(test::enqueue_jobs(db_, batch, {}, clock_.wall_ms()));
  dispatcher_.jobs_queued();
  std::map<std::string, std::string> read;
  for (int round = 0; round < 3; ++round) {
    for (const std::string name : {"a", "b"}) {
      const auto assigns = outbox_.take<schema::Assign>(name);
      ASSERT_EQ(assigns.size(), 1U) << name << " in round " << round;
      read[name] += assigns[0].spec.document;
      dispatcher_.on_result(name, test::success(assigns[0].lease));
    }
  }
  EXPECT_EQ(read["a"], "XXX");
  EXPECT_EQ(read["b"], "YYY");
}

TEST_F(Dispatch, ResultIsAcknowledgedAndTold) {
  connect("w");
  const JobId id = submit();
  dispatcher_.on_result("w", test::success({id, 1}));
  const auto acks = outbox_.take<schema::ResultAck>("w");
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_TRUE(acks[0].accepted);
  EXPECT_EQ(state(id), JobState::kSucceeded);
  EXPECT_EQ(events_.of(schema::kTopicJobState).back().state, JobState::kSucceeded);
}

TEST_F(Dispatch, ResultIsKeptWhileTheDiskIsFullAndStoredOnceHoweverOftenSaid) {
  connect("w");
  const JobId id = submit();
  store_.fail_next({ErrorCode::kUnavailable, "disk full"});
  dispatcher_.on_result("w", test::success({id, 1}));
  dispatcher_.on_result("w", test::success({id, 1}));
  EXPECT_TRUE(outbox_.take<schema::ResultAck>("w").empty());
  EXPECT_EQ(state(id), JobState::kRunning);  // what is said again waits for the first one's retry
  beat("w", {{id, 1}});
  pass(1'100);
  EXPECT_EQ(outbox_.take<schema::ResultAck>("w").size(), 1U);
  EXPECT_EQ(state(id), JobState::kSucceeded);
}

TEST_F(Dispatch, HelloOverTheSameConnectionIsNoNewWorker) {
  connect("w");
  const JobId id = submit();
  schema::Hello again = hello("w", "w");
  again.leases = assigned("w");
  dispatcher_.on_hello("w", 2, again);
  EXPECT_EQ(events_.of(schema::kTopicWorkerUp).size(), 1U);
  EXPECT_EQ(state(id), JobState::kRunning);
}

TEST_F(Dispatch, PlansThatAreSaidWhileTheHelloIsBeingRecordedAreRecordedToo) {
  store_.fail_next(Error{ErrorCode::kUnavailable, "disk full"});
  connect("w");
  schema::PlanTable table;
  table.edition = "e2";
  table.layer_info = {{0, 0, schema::LayerState::kFailed, false}};
  dispatcher_.on_plans("w", table);
  pass(2'000);
  EXPECT_EQ(test::query_text(db_, "SELECT edition FROM worker_status"), "e2");
  EXPECT_EQ(test::query_text(db_, "SELECT state FROM layer_status"), "failed");
}

TEST_F(Dispatch, WorkerThatStopsKeepsItsJobsAndGetsNoOther) {
  connect("w", 2);
  const JobId first = submit();
  const JobId second = submit();
  schema::Hello stops = hello("w", "w", 0);
  stops.leases = assigned("w");
  dispatcher_.on_hello("w", 2, stops);
  const JobId third = submit();
  dispatcher_.on_result("w", test::success({first, 1}));
  EXPECT_TRUE(assigned("w").empty());
  EXPECT_EQ(state(second), JobState::kRunning);
  connect("other", 2);
  EXPECT_THAT(assigned("other"), testing::ElementsAre(Lease{third, 1}));
}

TEST_F(Dispatch, LeaseExpires_ReturnsJobToQueue) {
  connect("w");
  const JobId id = submit();
  assigned("w");
  pass(1'900);
  EXPECT_EQ(state(id), JobState::kRunning);
  pass(200);
  EXPECT_EQ(state(id), JobState::kQueued);
  EXPECT_EQ(events_.of(schema::kTopicWorkerDown).size(), 1U);
  connect("other");
  EXPECT_THAT(assigned("other"), testing::ElementsAre(Lease{id, 2}));
}

TEST_F(Dispatch, HeartbeatsExtendOnlyTheLeasesTheyName) {
  connect("w", 2);
  const JobId kept = submit();
  const JobId dropped = submit();
  assigned("w");
  for (int i = 0; i < 6; ++i) {
    pass(500);
    beat("w", {{kept, 1}});
  }
  EXPECT_EQ(state(kept), JobState::kRunning);
  EXPECT_EQ(info(kept).attempt, 1U);
  EXPECT_EQ(info(dropped).attempt, 2U);  // given out once more: its lease had ended
}

TEST_F(Dispatch, LateResultOfALostLeaseIsRefused) {
  connect("slow");
  const JobId id = submit();
  pass(2'100);
  connect("other");
  beat("other", {{id, 2}});
  dispatcher_.on_result("slow", test::success({id, 1}));
  EXPECT_EQ(outbox_.take<schema::WhoAreYou>("slow").size(), 1U);
  schema::Hello again = hello("slow", "slow");
  again.leases = {{id, 1}};
  dispatcher_.on_hello("slow", 1, again);
  EXPECT_EQ(outbox_.take<schema::CancelLease>("slow").size(), 1U);
  dispatcher_.on_result("slow", test::success({id, 1}));
  const auto acks = outbox_.take<schema::ResultAck>("slow");
  ASSERT_EQ(acks.size(), 1U);
  EXPECT_FALSE(acks[0].accepted);
  EXPECT_EQ(state(id), JobState::kRunning);
}

TEST_F(Dispatch, WorkerCannotAnswerForAnothersLease) {
  connect("holder");
  const JobId id = submit();
  connect("other");
  dispatcher_.on_result("other", test::success({id, 1}));
  EXPECT_FALSE(outbox_.take<schema::ResultAck>("other").at(0).accepted);
  EXPECT_EQ(state(id), JobState::kRunning);
}

TEST_F(Dispatch, GoodbyeGivesItsJobsToOthersAtOnce) {
  connect("leaver");
  const JobId id = submit();
  dispatcher_.on_goodbye("leaver", {"upgrade"});
  EXPECT_EQ(state(id), JobState::kQueued);
  connect("other");
  EXPECT_THAT(assigned("other"), testing::ElementsAre(Lease{id, 2}));
}

TEST_F(Dispatch, WorkersOfOneNameLeaveEachOthersJobsAlone) {
  dispatcher_.on_hello("peer-1", 1, hello("host:1:cpu", "first"));
  const JobId one = submit();
  dispatcher_.on_hello("peer-2", 1, hello("host:1:cpu", "second"));
  const JobId two = submit();
  EXPECT_THAT(assigned("peer-1"), testing::ElementsAre(Lease{one, 1}));
  EXPECT_THAT(assigned("peer-2"), testing::ElementsAre(Lease{two, 1}));
  dispatcher_.on_result("peer-1", test::success({one, 1}));
  dispatcher_.on_result("peer-2", test::success({two, 1}));
  EXPECT_EQ(state(one), JobState::kSucceeded);
  EXPECT_EQ(state(two), JobState::kSucceeded);
  EXPECT_EQ(dispatcher_.workers().size(), 2U);
}

TEST_F(Dispatch, LeasesOfAKilledWorkerRunOutThoughAnotherHasItsName) {
  dispatcher_.on_hello("peer-1", 1, hello("host:1:cpu", "first"));
  const JobId id = submit();
  pass(1'000);
  dispatcher_.on_hello("peer-2", 1, hello("host:1:cpu", "second"));
  beat("peer-2", {});
  EXPECT_TRUE(assigned("peer-2").empty());
  pass(1'100);
  EXPECT_THAT(assigned("peer-2"), testing::ElementsAre(Lease{id, 2}));
}

TEST_F(Dispatch, ReconnectedWorkerKeepsItsLeases) {
  dispatcher_.on_hello("peer-1", 1, hello("w", "same"));
  const JobId id = submit();
  assigned("peer-1");
  schema::Hello again = hello("w", "same");
  again.leases = {{id, 1}};
  dispatcher_.on_hello("peer-2", 1, again);
  EXPECT_TRUE(outbox_.take<schema::CancelLease>("peer-2").empty());
  dispatcher_.on_result("peer-2", test::success({id, 1}));
  EXPECT_EQ(state(id), JobState::kSucceeded);
}

TEST_F(Dispatch, AssignmentThatGotLostReturnsWithTheNextHello) {
  connect("w");
  const JobId id = submit();
  assigned("w");
  connect("w");  // it holds nothing: the assignment never arrived
  EXPECT_THAT(assigned("w"), testing::ElementsAre(Lease{id, 1}));
}

TEST_F(Dispatch, WorkerThatCannotBeReachedGetsNothingMore) {
  connect("w");
  outbox_.lose("w");
  const JobId id = submit();
  EXPECT_EQ(state(id), JobState::kQueued);
  connect("other");
  EXPECT_EQ(assigned("other").size(), 1U);
}

TEST_F(Dispatch, AttemptsRunOutAndTheJobFails) {
  const JobId id = submit();
  for (int i = 0; i < 3; ++i) {
    connect("w" + std::to_string(i));
    pass(2'100);
  }
  EXPECT_EQ(state(id), JobState::kFailed);
  EXPECT_EQ(info(id).error->code, ErrorCode::kUnavailable);
}

TEST_F(Dispatch, CancelOfARunningJobTellsItsWorker) {
  connect("w");
  const JobId id = submit();
  const CancelOutcome outcome = test::must(cancel(db_, {id}, clock_.wall_ms()));
  dispatcher_.jobs_ended(outcome.cancelled, JobState::kCancelled);
  const auto revoked = outbox_.take<schema::CancelLease>("w");
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0].lease, (Lease{id, 1}));
  dispatcher_.on_result("w", test::success({id, 1}));
  EXPECT_EQ(state(id), JobState::kCancelled);
  const JobId next = submit();
  EXPECT_EQ(state(next), JobState::kRunning);  // the slot is free again
}

TEST_F(Dispatch, JobPastItsDeadlineExpiresAndItsWorkerIsTold) {
  connect("w");
  schema::JobRequest job = test::summarize();
  job.expires_in_ms = 1'000;
  const JobId id = submit(job);
  pass(500);
  beat("w", {{id, 1}});
  pass(1'600);
  EXPECT_EQ(state(id), JobState::kExpired);
  EXPECT_EQ(outbox_.take<schema::CancelLease>("w").size(), 1U);
}

TEST_F(Dispatch, TheStoreIsLeftAloneUntilTheNextJobIsDue) {
  schema::JobRequest job = test::summarize();
  job.expires_in_ms = 30'000;
  const JobId first = submit(job);
  pass(3'000);
  const std::size_t before = store_.posted();
  pass(26'000);
  EXPECT_EQ(store_.posted(), before);  // nothing was written, and nothing is due
  pass(2'500);
  EXPECT_EQ(state(first), JobState::kExpired);
  const JobId later = submit(job);
  pass(3'000);
  job.expires_in_ms = 5'000;
  const JobId sooner = submit(job);  // than what was last seen to be due next
  pass(7'000);
  EXPECT_EQ(state(sooner), JobState::kExpired);
  EXPECT_EQ(state(later), JobState::kQueued);
}

TEST_F(Dispatch, LeasesOfBeforeARestartAreAdopted) {
  connect("w");
  const JobId back = submit();
  Dispatcher restarted(config_, clock_, store_, outbox_, feed_);
  restarted.expect_back(test::must(stored_leases(db_)));
  schema::Hello again = hello("w", "w");
  again.leases = {{back, 1}};
  restarted.on_hello("w", 1, again);
  EXPECT_TRUE(outbox_.take<schema::CancelLease>("w").empty());
  restarted.on_result("w", test::success({back, 1}));
  EXPECT_EQ(state(back), JobState::kSucceeded);
}

TEST_F(Dispatch, LeasesOfBeforeARestartEndWhereTheWorkerStaysAway) {
  connect("w");
  const JobId id = submit();
  Dispatcher restarted(config_, clock_, store_, outbox_, feed_);
  restarted.expect_back(test::must(stored_leases(db_)));
  restarted.tick();
  EXPECT_EQ(state(id), JobState::kRunning);
  for (int i = 0; i < 21; ++i) {
    clock_.pass(100);
    restarted.tick();
  }
  EXPECT_EQ(state(id), JobState::kQueued);
}

TEST_F(Dispatch, DaemonThatStoodStillDoesNotBlameTheWorkers) {
  connect("w");
  const JobId id = submit();
  pass(500);
  clock_.pass(60'000);  // the disk hung, say; heartbeats lie unread
  dispatcher_.tick();
  EXPECT_EQ(state(id), JobState::kRunning);
}

TEST_F(Dispatch, ProgressIsToldOnceAChange) {
  connect("w");
  const JobId id = submit();
  schema::Heartbeat heartbeat;
  heartbeat.leases = {{{id, 1}, {schema::Phase::kPrefill, 10, 100, 0}}};
  dispatcher_.on_heartbeat("w", heartbeat);
  dispatcher_.on_heartbeat("w", heartbeat);
  EXPECT_EQ(events_.of(schema::kTopicJobProgress).size(), 1U);
  EXPECT_EQ(dispatcher_.progress(id).prompt_done, 10U);
}

}  // namespace
}  // namespace dslad::daemon
