// For which worker a job with a deadline is kept.
#include "daemon/policy/reservation.h"
#include "tests/daemon/policy_fixture.h"

namespace dslad::daemon::policy {
namespace {

using test::PolicyTest;

class ReservationTest : public PolicyTest {
 protected:
  // One with a chain, busy for a second, and one without, that is idle.
  ReservationTest() {
    workers_[0].busy_ms = 1'000;
    workers_.push_back(worker("plain"));
    workers_[1].plans.clear();
  }

  // 7.8 s of work on plan 0, 1.5 s on plan 7, 0.6 s on plan 8.
  WaitingJob due_in(std::int64_t ms) {
    WaitingJob made = job();
    made.size.bytes = 3'000;
    made.deadline_ms = made.turn_ms = kNow + ms;
    return made;
  }
};

TEST_F(ReservationTest, ADeadlineIsKeptForTheWorkerThatMeetsItAsLongAsItCan) {
  const Decision made = decide_now({due_in(2'850)}).decisions[0];
  EXPECT_EQ(made.plan, 7U);
  EXPECT_EQ(made.finish_ms, kNow + 2'500);
  EXPECT_EQ(made.reservation.worker, 0U);
  EXPECT_EQ(made.reservation.claims(0, kNow, kNow), Claims::kTakes);
  EXPECT_EQ(made.reservation.claims(1, kNow, kNow), Claims::kLeaves);
  EXPECT_EQ(made.reservation.claims(1, kNow + 1'350, kNow + 1'350), Claims::kLeaves);
  EXPECT_EQ(made.reservation.claims(1, kNow + 1'360, kNow + 1'360), Claims::kTakes) << "late everywhere";
}

TEST_F(ReservationTest, WhatIsInTimeHereOrLateEverywhereOrHasNoDeadlineIsAnybodys) {
  WaitingJob soon = job();
  soon.turn_ms = *(soon.deadline_ms = kNow + 5'000);
  for (const WaitingJob& alone : {due_in(500), soon, job()}) {
    SCOPED_TRACE(alone.id);
    const Decision made = decide_now({alone}).decisions[0];
    EXPECT_EQ(made.reservation.claims(0, kNow, kNow), Claims::kTakes);
    EXPECT_EQ(made.reservation.claims(1, kNow, kNow), Claims::kTakes);
  }
}

// It ran at once on whoever was free, though another has it done sooner, and a deadline was missed there.
TEST_F(ReservationTest, WhatWouldBreakAPromiseHereIsTakenAfterOthers) {
  workers_[0].busy_ms = 0;
  workers_[1].speed_key = "slow";
  costs_["slow"] = CostModel::recorded({2, 8e-3, 0, 0, 0, 0, 0}, 1, 1, 1);  // ten times
  WaitingJob first = job();
  first.priority = 1;
  WaitingJob second = job();
  second.size.bytes = 100;  // a second there
  second.turn_ms = *(second.deadline_ms = kNow + 1'050);
  second.max_plan = 0;
  const Verdict verdict = decide_now({first, second});
  ASSERT_EQ(verdict.decisions[0].reservation.worker, 0U);
  ASSERT_EQ(verdict.decisions[1].reservation.worker, 1U);
  EXPECT_EQ(verdict.decisions[0].reservation.claims(1, kNow, kNow), Claims::kRatherNot);
  EXPECT_EQ(verdict.decisions[0].reservation.claims(0, kNow, kNow), Claims::kTakes);
  EXPECT_EQ(verdict.decisions[1].reservation.claims(1, kNow, kNow), Claims::kTakes);
}

}  // namespace
}  // namespace dslad::daemon::policy
