// A worker breaks: which of its jobs pay for it, and how the one that did it is found.
#include <gmock/gmock.h>

#include "daemon/dispatch/dispatcher.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

class Blame : public test::DispatcherTest {
 protected:
  // A worker of this name breaks.
  void break_worker(const std::string& name) {
    dispatcher_.on_goodbye(name, {"the engine failed", Error{ErrorCode::kInternal, "the engine failed"}});
  }
};

// Four jobs, one of which kills every worker that has it: the other three succeed.
TEST_F(Blame, PoisonJobFailsAndItsNeighboursDoNot) {
  std::vector<JobId> jobs;
  for (int i = 0; i < 4; ++i) jobs.push_back(submit());
  const JobId poison = jobs[1];
  int workers = 0;
  while (workers < 40 &&
         test::query_text(db_, "SELECT sum(jobs) FROM job_counts WHERE state IN ('queued', 'running')") !=
             "0") {
    const std::string name = "w" + std::to_string(++workers);
    connect(name, 4);
    for (std::vector<Lease> held = assigned(name); !held.empty(); held = assigned(name)) {
      const bool poisoned =
          std::any_of(held.begin(), held.end(), [&](const Lease& one) { return one.job == poison; });
      if (poisoned) {
        break_worker(name);
        break;
      }
      for (const Lease& lease : held) dispatcher_.on_result(name, test::success(lease));
    }
  }
  for (const JobId id : jobs) {
    EXPECT_EQ(state(id), id == poison ? JobState::kFailed : JobState::kSucceeded) << id;
  }
  EXPECT_EQ(workers, 5) << "one takes them all along, three the poison alone, one does the rest";
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM job_attempts WHERE id <> 2 AND outcome = 'lost'"),
            "3");
}

TEST_F(Blame, SilentWorkerIsABrokenOne) {
  connect("w", 2);
  const JobId first = submit();
  const JobId second = submit();
  pass(2'100);
  EXPECT_TRUE(info(first).alone && info(second).alone);
  connect("v", 2);
  EXPECT_EQ(assigned("v").size(), 1U);
}

TEST_F(Blame, SuspectGetsAWorkerThatHasOthersOnceTheyAreDone) {
  connect("w", 2);
  const JobId first = submit();
  submit();
  break_worker("w");
  connect("busy", 2);
  const std::vector<Lease> alone = assigned("busy");
  ASSERT_EQ(alone.size(), 1U);
  EXPECT_EQ(alone[0].job, first);
  submit();
  pass(1'100);
  EXPECT_TRUE(assigned("busy").empty()) << "nobody beside a suspect";
  dispatcher_.on_result("busy", test::success(alone[0]));
  const std::vector<Lease> second = assigned("busy");
  ASSERT_EQ(second.size(), 1U) << "the next is a suspect, too";
  dispatcher_.on_result("busy", test::success(second[0]));
  EXPECT_EQ(assigned("busy").size(), 1U);
}

TEST_F(Blame, WorkerThatLeavesInOrderBlamesNobody) {
  connect("w", 2);
  const JobId first = submit();
  const JobId second = submit();
  dispatcher_.on_goodbye("w", {"it stops", std::nullopt});
  EXPECT_FALSE(info(first).alone || info(second).alone);
  EXPECT_EQ(test::query_text(db_, "SELECT sum(failed_attempts) FROM jobs"), "0");
}

TEST_F(Blame, SuspectIsAloneWithItsWorkerAfterARestartToo) {
  connect("w", 2);
  const JobId first = submit();
  submit();
  break_worker("w");
  connect("v", 2);
  ASSERT_THAT(assigned("v"), testing::ElementsAre(Lease{first, 2}));
  Dispatcher restarted(config_, clock_, store_, outbox_, feed_);
  restarted.expect_back(test::must(stored_leases(db_)));
  schema::Hello back = hello("v", "v", 2);
  back.leases = {{first, 2}};
  restarted.on_hello("v", 1, back);
  EXPECT_TRUE(assigned("v").empty());
  restarted.on_result("v", test::success({first, 2}));
  EXPECT_EQ(assigned("v").size(), 1U);
}

// It once went round for ever, as no goodbye counted.
TEST_F(Blame, JobThatBreaksTheEngineEachTimeFails) {
  schema::JobRequest job = test::summarize();
  job.max_attempts = 1;
  const JobId id = submit(job);
  connect("w");
  break_worker("w");
  EXPECT_EQ(state(id), JobState::kFailed);
  EXPECT_THAT(info(id).error->message, testing::HasSubstr("the engine failed"));
}

TEST_F(Blame, JobWhoseTextsAreLostHoldsUpNobody) {
  const JobId broken = submit();
  const JobId sound = submit();
  test::must(db_.run("DELETE FROM job_inputs WHERE job_id = ?", broken));
  connect("w", 2);
  EXPECT_THAT(assigned("w"), testing::ElementsAre(Lease{sound, 1}));
  EXPECT_EQ(state(broken), JobState::kFailed);
  EXPECT_EQ(events_.of(schema::kTopicJobState).back().job, sound);
}

TEST_F(Blame, AssignmentThatCrossesAHelloRunsOnce) {
  connect("w", 4);
  const JobId id = submit();
  ASSERT_THAT(assigned("w"), testing::ElementsAre(Lease{id, 1}));
  connect("w", 4);  // was on its way when the job was
  connect("v", 4);
  EXPECT_TRUE(assigned("v").empty());
  EXPECT_THAT(assigned("w"), testing::ElementsAre(Lease{id, 1})) << "the same lease, in case it was lost";
  dispatcher_.on_result("w", test::success({id, 1}));
  EXPECT_EQ(state(id), JobState::kSucceeded);
}

using Hold = test::InlineExecutor::Hold;

// It was claimed, and nobody knew where to send it.
TEST_F(Blame, WorkerThatLeavesWhileItsJobIsClaimedLosesNothing) {
  connect("w");
  store_.hold(Hold::kFinish);
  const JobId id = submit();
  dispatcher_.on_goodbye("w", {"", std::nullopt});
  store_.let_go();
  EXPECT_EQ(state(id), JobState::kQueued);
  EXPECT_EQ(test::query_text(db_, "SELECT failed_attempts FROM jobs"), "0");
  connect("v");
  EXPECT_THAT(assigned("v"), testing::ElementsAre(Lease{id, 2}));
}

TEST_F(Blame, JobThatIsCancelledWhileItIsClaimedIsTakenBackFromItsWorker) {
  connect("w");
  store_.hold(Hold::kFinish);
  const JobId id = submit();
  const CancelOutcome outcome = test::must(cancel(db_, {id}, clock_.wall_ms()));
  store_.let_go();
  dispatcher_.jobs_ended(outcome.cancelled, JobState::kCancelled);
  EXPECT_EQ(assigned("w").size(), 1U);
  EXPECT_EQ(outbox_.take<schema::CancelLease>("w").size(), 1U);
  EXPECT_EQ(dispatcher_.running(), 0U);
}

TEST_F(Blame, ResultThatIsBeingStoredWhenItsWorkerBreaksIsNoSuspect) {
  connect("w", 2);
  const JobId done = submit();
  const JobId running = submit();
  store_.hold(Hold::kAll);
  dispatcher_.on_result("w", test::success({done, 1}));
  break_worker("w");
  store_.let_go();
  EXPECT_EQ(state(done), JobState::kSucceeded);
  EXPECT_FALSE(info(running).alone) << "it was alone already: it has failed";
  EXPECT_EQ(test::query_text(db_, "SELECT failed_attempts FROM jobs WHERE id = 2"), "1");
}

TEST_F(Blame, WorkerThatStopsGivesBackWhatItDoesNotName) {
  connect("w", 4);
  const JobId id = submit();
  assigned("w");
  connect("w", 0);
  connect("v", 4);
  EXPECT_THAT(assigned("v"), testing::ElementsAre(Lease{id, 2}));
}

TEST_F(Blame, HeartbeatIsAnsweredSoThatNobodySaysHelloForNothing) {
  connect("w");
  beat("w", {});
  EXPECT_EQ(outbox_.take<schema::HeartbeatAck>("w").size(), 1U);
}

TEST_F(Blame, PausedQueueGivesOutNothingUntilItIsResumed) {
  dispatcher_.set_mode(schema::QueueMode::kPaused, [](const Status& saved) { EXPECT_TRUE(saved.ok()); });
  connect("w");
  submit();
  pass(1'100);
  EXPECT_TRUE(assigned("w").empty());
  EXPECT_EQ(test::query_text(db_, "SELECT value FROM settings WHERE key = 'queue_mode'"), "paused");
  dispatcher_.set_mode(schema::QueueMode::kOpen, [](const Status&) {});
  EXPECT_EQ(assigned("w").size(), 1U);
}

TEST_F(Blame, JobThatBeginsLaterIsGivenOutWhenItsTimeComes) {
  dispatcher_.tick();
  connect("w");
  schema::JobRequest job = test::summarize();
  job.start_in_ms = 5'000;
  submit(job);
  for (int i = 0; i < 4; ++i) {
    pass(1'000);
    beat("w", {});
  }
  EXPECT_TRUE(assigned("w").empty());
  pass(1'900);
  EXPECT_EQ(assigned("w").size(), 1U);
}

TEST_F(Blame, PlanThatOneWorkerRefusesIsToldForEach) {
  connect("a");
  connect("b");
  std::optional<Result<schema::PlanReply>> done;
  dispatcher_.set_plan({1, false, ""}, [&](Result<schema::PlanReply> reply) { done = std::move(reply); });
  const auto asked = outbox_.take<schema::SetWorkerPlan>("a");
  ASSERT_EQ(asked.size(), 1U);
  schema::PlanResult taken{asked[0].request, std::nullopt, 1, asked[0].generation, {}, {}};
  dispatcher_.on_plan_result("a", taken);
  schema::PlanResult refused{asked[0].request, Error{ErrorCode::kRefused, "not distilled"}, 0, 0, {}, {}};
  dispatcher_.on_plan_result("b", refused);
  ASSERT_TRUE(done.has_value() && done->ok());
  ASSERT_EQ((*done)->workers.size(), 2U);
  EXPECT_FALSE((*done)->workers[0].error.has_value());
  EXPECT_EQ((*done)->workers[1].worker, "b");
  EXPECT_EQ((*done)->workers[1].error->message, "not distilled");
}

}  // namespace
}  // namespace dslad::daemon
