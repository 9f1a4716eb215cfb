// Jobs that a worker has and has not begun: they wait, though leased.
#include <gmock/gmock.h>

#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

class Begun : public test::DispatcherTest {
 protected:
  Begun() { connect_teller("w", 2); }

  // A worker that tells what it has begun.
  void connect_teller(const std::string& name, std::uint32_t room, const std::vector<Lease>& leases = {}) {
    schema::Hello message = hello(name, name, 16);
    message.room = room;
    message.leases = leases;
    dispatcher_.on_hello(name, 1, message);
  }

  std::uint64_t counted(const std::string& word) { return test::must(count_jobs(db_))[word]; }
  std::vector<JobState> told(JobId id) {
    std::vector<JobState> states;
    for (const schema::Event& event : events_.of(schema::kTopicJobState)) {
      if (event.job == id) states.push_back(*event.state);
    }
    return states;
  }
};

TEST_F(Begun, AJobIsQueuedAtItsWorkerUntilThatBeginsIt) {
  const JobId first = submit(), second = submit(), third = submit();
  const std::vector<Lease> leases = assigned("w");
  ASSERT_EQ(leases.size(), 2U);
  clock_.pass(700);
  const std::int64_t begun_ms = clock_.wall_ms();
  dispatcher_.on_room("w", {{leases[0]}, 1});

  EXPECT_EQ(state(first), JobState::kRunning);
  EXPECT_EQ(info(first).started_ms, begun_ms);
  EXPECT_FALSE(info(first).at_worker);
  EXPECT_EQ(state(second), JobState::kQueued);
  EXPECT_TRUE(info(second).at_worker);
  EXPECT_EQ(info(second).worker, "w");
  EXPECT_EQ(info(second).started_ms, 0);
  EXPECT_FALSE(info(third).at_worker);
  EXPECT_EQ(counted("running"), 1U);
  EXPECT_EQ(counted("queued"), 2U);
  EXPECT_EQ(test::query_text(db_,
                             "SELECT group_concat(state || coalesce(' at ' || worker, ''), ', ') FROM "
                             "(SELECT * FROM job_status ORDER BY id)"),
            "running at w, queued at w, queued");
  EXPECT_THAT(told(first), ::testing::ElementsAre(JobState::kQueued, JobState::kRunning));
  EXPECT_THAT(told(second), ::testing::ElementsAre(JobState::kQueued));
  pass(1'000);
  EXPECT_EQ(dispatcher_.planner().report().waiting_jobs, 1U) << "what no worker has";
  EXPECT_TRUE(assigned("w").empty()) << "what is leased is not leased again";

  const schema::JobVerdict verdict = test::must(read_verdict(db_, second));
  EXPECT_TRUE(verdict.at_worker);
  EXPECT_EQ(verdict.why, "set by hand");
  EXPECT_EQ(verdict.start_ms, 0);
}

TEST_F(Begun, HeartbeatsTellItAgainAndNothingIsToldTwice) {
  const JobId id = submit();
  const Lease lease = assigned("w").at(0);
  schema::Heartbeat heartbeat;
  heartbeat.leases = {{lease, {schema::Phase::kWaiting, 0, 0, 0}}};
  dispatcher_.on_heartbeat("w", heartbeat);
  EXPECT_EQ(state(id), JobState::kQueued);
  heartbeat.leases = {{lease, {schema::Phase::kPrefill, 0, 0, 0}}};
  dispatcher_.on_heartbeat("w", heartbeat);
  dispatcher_.on_heartbeat("w", heartbeat);
  dispatcher_.on_room("w", {{lease}, 2});
  EXPECT_EQ(state(id), JobState::kRunning);
  EXPECT_THAT(told(id), ::testing::ElementsAre(JobState::kQueued, JobState::kRunning));
}

TEST_F(Begun, AResultWithoutAWordBeforeItIsOfAJobThatRan) {
  const JobId id = submit();
  const Lease lease = assigned("w").at(0);
  clock_.pass(1'000);
  schema::WorkerResult result = test::success(lease);
  result.metrics.prefill_ms = 200;
  result.metrics.decode_ms = 100;
  dispatcher_.on_result("w", result);
  EXPECT_EQ(state(id), JobState::kSucceeded);
  EXPECT_EQ(info(id).started_ms, info(id).ended_ms - 300) << "what its steps took";
  EXPECT_THAT(told(id), ::testing::ElementsAre(JobState::kQueued, JobState::kRunning, JobState::kSucceeded));
  EXPECT_TRUE(assigned("w").empty());
}

TEST_F(Begun, WhatWaitsAtAWorkerIsGivenBackLostCancelledAndExpiresAsWhatRuns) {
  schema::JobRequest short_lived = test::summarize();
  short_lived.expires_in_ms = 1'000;
  const JobId cancelled = submit(), expired = submit(short_lived);
  const std::vector<Lease> leases = assigned("w");
  ASSERT_EQ(leases.size(), 2U);
  const CancelOutcome outcome = test::must(cancel(db_, {cancelled}, clock_.wall_ms()));
  EXPECT_EQ(outcome.cancelled.at(0).lease, leases[0]);
  const std::vector<Ended> ended = test::must(expire(db_, clock_.wall_ms() + 1'000));
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(ended[0].lease, leases[1]);
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM attempts WHERE outcome IS NULL"), "0");
  dispatcher_.jobs_ended(outcome.cancelled, JobState::kCancelled);
  dispatcher_.jobs_ended(ended, JobState::kExpired);
  EXPECT_EQ(state(expired), JobState::kExpired);

  const JobId id = submit();
  EXPECT_EQ(assigned("w"), (std::vector<Lease>{{id, 1}}));
  dispatcher_.on_goodbye("w", {"it stops", std::nullopt});
  EXPECT_EQ(state(id), JobState::kQueued);
  EXPECT_FALSE(info(id).at_worker);
  connect_teller("v", 1);
  EXPECT_EQ(assigned("v"), (std::vector<Lease>{{id, 2}}));
  dispatcher_.on_room("v", {{{id, 1}}, 1});
  EXPECT_EQ(state(id), JobState::kQueued) << "an attempt that has ended begins no more";
  beat("v", {});
  pass(config_.lease_ms + 100);
  EXPECT_FALSE(info(id).at_worker);
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(outcome) FROM job_attempts WHERE id = 3"),
            "given_back,lost");
}

TEST_F(Begun, ItSurvivesADaemonThatDies) {
  const JobId begun = submit(), waits = submit(), free = submit();
  const std::vector<Lease> leases = assigned("w");
  ASSERT_EQ(leases.size(), 2U);
  dispatcher_.on_room("w", {{leases[0]}, 1});

  const std::vector<StoredLease> held = test::must(stored_leases(db_));
  ASSERT_EQ(held.size(), 2U);
  test::FakeOutbox outbox;
  test::RecordedFeed events;
  Feed feed(clock_);
  feed.add(events);
  Dispatcher next(config_, clock_, store_, outbox, feed);
  next.expect_back(held);
  EXPECT_EQ(state(begun), JobState::kRunning);
  EXPECT_TRUE(info(waits).at_worker);
  schema::Hello message = hello("w", "w", 16);
  message.room = 1;
  message.leases = leases;
  next.on_hello("w", 1, message);
  next.on_room("w", {leases, 0});
  EXPECT_EQ(state(waits), JobState::kRunning);
  EXPECT_EQ(events.of(schema::kTopicJobState).size(), 1U) << "the other ran before";
  EXPECT_FALSE(info(free).at_worker);
}

TEST_F(Begun, OfAWorkerThatDoesNotTellJobsRunAsSoonAsTheyAreLeased) {
  dispatcher_.on_goodbye("w", {});
  const JobId id = submit();
  connect("old");
  EXPECT_EQ(assigned("old").size(), 1U);
  EXPECT_EQ(state(id), JobState::kRunning);
  EXPECT_THAT(told(id), ::testing::ElementsAre(JobState::kRunning));
}

TEST_F(Begun, AClockThatIsSetMovesTheLeaseOfWhatWaitsToo) {
  const JobId id = submit();
  ASSERT_EQ(assigned("w").size(), 1U);
  const std::string before = test::query_text(db_, "SELECT started_ms FROM attempts");
  test::must(shift_open_jobs(db_, 5'000));
  EXPECT_EQ(std::stoll(test::query_text(db_, "SELECT started_ms FROM attempts")), std::stoll(before) + 5'000);
  EXPECT_EQ(state(id), JobState::kQueued);
}

}  // namespace
}  // namespace dslad::daemon
