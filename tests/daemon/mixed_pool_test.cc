// A deadline goes to the worker, and waits for the decision, by which it is met.
#include "tests/daemon/policing_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::Lease;
using test::Policing;

// Alone, too: a second decision is not made at once, and by then the job would have begun on plan 0.
TEST_F(Policing, ADeadlineThatPlan0MissesWaitsForADecision) {
  connect_worker();
  teach();
  submit(document());
  const Lease busy = assigns().at(0).lease;
  dispatcher_.on_room("w", {{busy}, 1});
  schema::JobRequest job = test::summarize(std::string(3'000, 'y'));  // 3 s on plan 0
  job.terms.deadline_in_ms = 2'700;
  const JobId due = submit(job);
  EXPECT_THAT(assigns(), ::testing::IsEmpty());
  beat("w", {busy});
  pass(200);
  const std::vector<schema::Assign> taken = assigns();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].lease.job, due);
  EXPECT_GT(taken[0].plan.value_or(0), 0U);
}

// One worker with a chain, at work for a second more, and one without, which is idle.
class MixedPool : public Policing {
 protected:
  MixedPool() {
    connect_worker();
    teach();
    submit(document());
    busy_ = assigns().at(0).lease;
    schema::Hello plain = hello("plain", "plain", 4);
    plain.room = 1;
    plain.context = 16'384;
    dispatcher_.on_hello("plain", 1, plain);
    pass(100);
  }

  // Three seconds of work on plan 0, 0.75 s on plan 4.
  JobId submit_due() {
    schema::JobRequest job = test::summarize(std::string(3'000, 'y'));
    job.terms.deadline_in_ms = 2'700;
    EXPECT_FALSE(admission(job).refusal.has_value());
    return submit(job);
  }

  std::vector<JobId> given(const std::string& peer) {
    std::vector<JobId> jobs;
    for (const Lease& lease : assigned(peer)) jobs.push_back(lease.job);
    return jobs;
  }

  void live(std::int64_t ms) {
    for (std::int64_t step = 0; step < ms; step += 100) {
      beat("w", {busy_});
      beat("plain", {});
      pass(100);
    }
  }

  Lease busy_;
};

TEST_F(MixedPool, ADeadlineIsLeftToTheWorkerThatMeetsIt) {
  const JobId due = submit_due();
  EXPECT_THAT(given("plain"), ::testing::IsEmpty()) << "it came after the last decision";
  live(300);
  EXPECT_THAT(given("plain"), ::testing::IsEmpty()) << "decided";
  const JobId other = submit(document());
  EXPECT_THAT(given("plain"), ::testing::ElementsAre(other)) << "nobody is idle for it";
  dispatcher_.on_room("w", {{busy_}, 1});
  const std::vector<schema::Assign> taken = assigns();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].lease.job, due);
  EXPECT_GT(taken[0].plan.value_or(0), 0U);
}

TEST_F(MixedPool, WhoeverIsFreeTakesItOnceTheOtherHasLeft) {
  const JobId due = submit_due();
  live(200);
  ASSERT_THAT(given("plain"), ::testing::IsEmpty());
  dispatcher_.on_goodbye("w", {});
  live(300);
  EXPECT_THAT(given("plain"), ::testing::Contains(due));
}

TEST_F(MixedPool, WhoeverIsFreeTakesItOnceTheOtherStops) {
  const JobId due = submit_due();
  live(200);
  ASSERT_THAT(given("plain"), ::testing::IsEmpty());
  schema::Hello stops = hello("w", "w", 0);
  stops.leases = {busy_};
  dispatcher_.on_hello("w", 1, stops);
  live(300);
  EXPECT_THAT(given("plain"), ::testing::ElementsAre(due));
}

TEST_F(MixedPool, WhoeverIsFreeTakesItOnceTheOtherHasRefusedIt) {
  const JobId due = submit_due();
  live(200);
  dispatcher_.on_room("w", {{busy_}, 1});
  const std::vector<schema::Assign> taken = assigns();
  ASSERT_EQ(taken.size(), 1U);
  schema::WorkerResult refusal = test::failure(taken[0].lease, ErrorCode::kResourceExhausted);
  refusal.needs_context = 9'000;
  dispatcher_.on_result("w", refusal);
  live(100);
  EXPECT_THAT(given("plain"), ::testing::ElementsAre(due));
}

TEST_F(MixedPool, WhoeverIsFreeTakesItOnceItIsLateEverywhere) {
  const JobId due = submit_due();
  live(500);
  EXPECT_THAT(given("plain"), ::testing::IsEmpty());
  live(2'700);  // the other has not moved
  EXPECT_THAT(given("plain"), ::testing::Contains(due));
}

TEST_F(MixedPool, ADeadlineThatIsMetHereIsNotLeftToAnother) {
  schema::JobRequest job = document();
  job.terms.deadline_in_ms = 5'000;
  const JobId soon = submit(job);
  live(100);
  EXPECT_THAT(given("plain"), ::testing::ElementsAre(soon));
}

}  // namespace
}  // namespace dslad::daemon
