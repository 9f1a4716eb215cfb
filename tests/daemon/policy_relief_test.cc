// What is made cheaper for whom, and what a job is promised before it is taken.
#include <gmock/gmock.h>

#include "daemon/policy/admission.h"
#include "tests/daemon/policy_world.h"

namespace dslad::daemon::policy {
namespace {

using test::set_deadline;
using test::Trace;

class ReliefTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::vector<WaitingJob> jobs() const {
    std::vector<WaitingJob> all;
    for (const SimulatedJob& job : made_.jobs) all.push_back(job.job);
    return all;
  }
  [[nodiscard]] Verdict decide_now() const { return decide(settings_, {}, jobs(), workers_, costs_, 0); }
  [[nodiscard]] std::vector<Admission> admit_all(const std::vector<WaitingJob>& fresh) const {
    return admissions(settings_, {}, jobs(), fresh, workers_, costs_, 0);
  }
  [[nodiscard]] Admission admit(const WaitingJob& fresh) const { return admit_all({fresh}).at(0); }
  // The same jobs, with nothing to hurry for.
  [[nodiscard]] WaitingJob another(std::int64_t deadline_ms, std::int64_t id = 1'000'000) const {
    Scenario other;
    WaitingJob fresh = Trace(other, 1).add(0).job;
    fresh.id = id;
    if (deadline_ms > 0) fresh.deadline_ms = fresh.turn_ms = deadline_ms;
    return fresh;
  }

  Settings settings_{.min_quality = 0.9, .target_drain_ms = test::kDay_ms};
  std::vector<WorkerFacts> workers_ = {test::worker()};
  CostModels costs_ = {{"cpu", test::truth()}};
  Scenario made_;
};

TEST_F(ReliefTest, LongDocumentsGoFirstWhereTheyGainMost) {
  Trace trace(made_, 1);
  set_deadline(trace.add(0, 8'000), 14'000);  // 14.8 s on plan 0
  for (int i = 0; i < 4; ++i) set_deadline(trace.add(0, 1'000), 15'000);
  const Verdict verdict = decide_now();
  EXPECT_GT(verdict.decisions[0].plan, 0U);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(verdict.decisions[i].plan, 0U);
  EXPECT_THAT(verdict.decisions, ::testing::Each(::testing::Field(&Decision::late, false)));
}

TEST_F(ReliefTest, DecisionsNameTheJobThatTheyAreFor) {
  Trace trace(made_, 1);
  trace.add(0).job.priority = 1;
  set_deadline(trace.add(0), 1'500);
  trace.add(0);
  const Verdict verdict = decide_now();
  EXPECT_GT(verdict.decisions[0].plan, 0U);
  EXPECT_EQ(verdict.decisions[0].reason, Reason::kDeadline);
  EXPECT_EQ(verdict.decisions[0].raised_for, 2);
  EXPECT_THAT(explain(verdict.decisions[0], settings_, verdict), ::testing::HasSubstr("deadline of job 2"));
  EXPECT_FALSE(verdict.decisions[2].raised_for.has_value());
}

TEST_F(ReliefTest, AWorkerOfAnUnknownKindIsTakenToBeLikeOthersOfItsModel) {
  workers_.push_back(test::worker("new"));
  workers_[1].speed_key = "gpu";
  Trace trace(made_, 1);
  for (int i = 0; i < 10; ++i) trace.add(0);
  const Verdict verdict = decide_now();
  EXPECT_NEAR(verdict.drain_ms, 5'000, 1);
  const auto unknown = std::count_if(verdict.decisions.begin(), verdict.decisions.end(),
                                     [](const Decision& one) { return one.reason == Reason::kUnknownSpeed; });
  EXPECT_EQ(unknown, 5);
}

TEST_F(ReliefTest, PlansThatSaveNothingAreNotGiven) {
  for (PlanFacts& plan : workers_[0].plans) plan.state_bytes = plan.plan;
  costs_["cpu"] = CostModel::recorded({0.05, 0, 1, 0, 0, 0, 0}, 4, 1, 1);  // states cost more than attention
  settings_.target_drain_ms = 1;
  Trace trace(made_, 1);
  for (int i = 0; i < 10; ++i) trace.add(0);
  EXPECT_THAT(decide_now().decisions, ::testing::Each(::testing::Field(&Decision::plan, 0U)));
}

TEST_F(ReliefTest, EmptyDocumentsAndTimesThatArePastDoNoHarm) {
  Trace trace(made_, 1);
  set_deadline(trace.add(0, 0), -100'000);
  trace.add(-1'000'000, 0).job.size = {0, 0, 0};
  const Verdict verdict = decide_now();
  EXPECT_TRUE(verdict.decisions[0].late);
  EXPECT_EQ(verdict.decisions[1].plan, 0U);
}

TEST_F(ReliefTest, AJobInTimeIsAdmitted) {
  const Admission promised = admit(another(2'000));
  EXPECT_TRUE(promised.taken);
  EXPECT_NEAR(static_cast<double>(*promised.finish_ms), 1'000, 1);
  EXPECT_FALSE(promised.earliest_ms.has_value());
}

TEST_F(ReliefTest, ADeadlineThatCannotBeMetIsToldTheEarliestThatCan) {
  Trace trace(made_, 1);
  for (int i = 0; i < 10; ++i) set_deadline(trace.add(0), 10'000);
  const Admission promised = admit(another(100));
  EXPECT_TRUE(promised.late);
  EXPECT_FALSE(promised.taken);
  ASSERT_TRUE(promised.earliest_ms.has_value());
  EXPECT_TRUE(admit(another(*promised.earliest_ms)).taken);
  EXPECT_NEAR(static_cast<double>(*promised.earliest_ms), 1'000 * (1 - 0.9 * 28 / 32), 2);
}

TEST_F(ReliefTest, TheEarliestDeadlineIsBehindThoseThatRunBefore) {
  Trace trace(made_, 1);
  for (int i = 0; i < 10; ++i) trace.add(0).job.priority = 1;
  const Admission promised = admit(another(100));
  ASSERT_TRUE(promised.earliest_ms.has_value());
  EXPECT_NEAR(static_cast<double>(*promised.earliest_ms), 11 * 1'000 * (1 - 0.9 * 28 / 32), 2);
  EXPECT_TRUE(admit(another(*promised.earliest_ms)).taken);
}

TEST_F(ReliefTest, ADeadlineThatBreaksAnotherIsNotTaken) {
  Trace trace(made_, 1);
  set_deadline(trace.add(0), 250);
  const Admission promised = admit(another(240));  // either alone takes 213 ms
  EXPECT_FALSE(promised.late);
  EXPECT_FALSE(promised.taken);
  EXPECT_THAT(promised.displaced, ::testing::ElementsAre(1));
  ASSERT_TRUE(promised.earliest_ms.has_value());
  EXPECT_NEAR(static_cast<double>(*promised.earliest_ms), 2 * 1'000 * (1 - 0.9 * 28 / 32), 2);
  EXPECT_TRUE(admit(another(*promised.earliest_ms)).taken);
}

TEST_F(ReliefTest, NobodyIsRefusedForADeadlineThatIsMissedAnywayOrWasNotPromised) {
  Trace trace(made_, 1);
  set_deadline(trace.add(0), 200);
  EXPECT_TRUE(admit(another(2'000)).taken);
  made_.jobs[0].job.deadline_ms = made_.jobs[0].job.turn_ms = 250;
  made_.jobs[0].job.best_effort = true;
  EXPECT_TRUE(admit(another(240)).taken);
}

TEST_F(ReliefTest, WhoHasNoDeadlineOrAHigherPriorityOrAsksForBestEffortIsTaken) {
  Trace trace(made_, 1);
  set_deadline(trace.add(0), 250);
  WaitingJob first = another(0);
  first.priority = 1;
  EXPECT_TRUE(admit(first).taken);
  first = another(240);
  first.priority = 1;
  EXPECT_TRUE(admit(first).taken);
  first = another(100);
  first.best_effort = true;
  EXPECT_TRUE(admit(first).taken);
  EXPECT_TRUE(admit(first).late);
}

TEST_F(ReliefTest, JobsThatAskTogetherAreJudgedTogether) {
  std::vector<WaitingJob> fresh;
  for (int i = 0; i < 6; ++i) fresh.push_back(another(1'000, 100 + i));  // four can be done in time
  const std::vector<Admission> made = admit_all(fresh);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(made[i].taken, i < 4) << i;
  EXPECT_NEAR(static_cast<double>(made[4].earliest_ms.value_or(0)), 6 * 1'000 * (1 - 0.9 * 28 / 32), 2);
}

// Of any queue: what is offered instead would be taken.
TEST_F(ReliefTest, TheEarliestDeadlineThatIsSaidIsTaken) {
  int late = 0;
  int displacing = 0;
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    made_.jobs.clear();
    Trace trace(made_, seed);
    for (int i = trace.draw(1, 30); i > 0; --i) {
      SimulatedJob& job = trace.add(0, trace.draw(100, 5'000));
      if (trace.draw(0, 2) > 0) set_deadline(job, trace.draw(100, 5'000));
    }
    const WaitingJob asking = another(trace.draw(100, 5'000));
    const Admission made = admit(asking);
    if (made.taken) continue;
    ++(made.late ? late : displacing);
    ASSERT_TRUE(made.earliest_ms.has_value());
    ASSERT_GT(*made.earliest_ms, *asking.deadline_ms);
    ASSERT_TRUE(admit(another(*made.earliest_ms)).taken);
  }
  EXPECT_GT(late, 10);
  EXPECT_GT(displacing, 10);
}

TEST_F(ReliefTest, NothingIsPromisedWhereNothingIsKnown) {
  costs_.clear();
  const Admission promised = admit(another(1));
  EXPECT_FALSE(promised.finish_ms.has_value());
  EXPECT_TRUE(promised.taken);
  workers_.clear();
  EXPECT_TRUE(admit(another(1)).taken);
}

// On one worker, whatever waits: a deadline is met if any plans meet it; the job for which another one is
// made cheaper is late on plan 0, runs no earlier than it, and is in time thereby.
TEST_F(ReliefTest, OfAnyQueueTheRightJobsAreMadeCheaper) {
  for (unsigned seed = 0; seed < 1'000; ++seed) {
    SCOPED_TRACE(seed);
    made_.jobs.clear();
    Trace trace(made_, seed);
    for (int i = trace.draw(1, 40); i > 0; --i) {
      SimulatedJob& job = trace.add(0, trace.draw(100, 5'000), trace.draw(0, 3) == 0 ? "ada" : "bulk");
      if (trace.draw(0, 1) == 0) set_deadline(job, trace.draw(100, 40'000));
    }
    const Verdict verdict = decide_now();
    Settings patient = settings_;
    patient.kind = PolicyKind::kStatic;
    const Verdict plain = decide(patient, {}, jobs(), workers_, costs_, 0);
    patient.static_plan = 28;
    const Verdict cheapest = decide(patient, {}, jobs(), workers_, costs_, 0);
    std::map<std::int64_t, std::size_t> place;
    for (std::size_t i = 0; i < verdict.decisions.size(); ++i) place[verdict.decisions[i].id] = i;
    for (std::size_t i = 0; i < verdict.decisions.size(); ++i) {
      const Decision& one = verdict.decisions[i];
      ASSERT_EQ(one.late, cheapest.decisions[i].late);
      ASSERT_EQ(one.plan > 0, one.raised_for.has_value());
      if (!one.raised_for) continue;
      ASSERT_GE(place[*one.raised_for], i);
      ASSERT_TRUE(plain.decisions[place[*one.raised_for]].late);
      ASSERT_TRUE(*one.raised_for == one.id || !verdict.decisions[place[*one.raised_for]].late);
    }
  }
}

}  // namespace
}  // namespace dslad::daemon::policy
