// What the daemon does while no user's job waits or runs.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;

constexpr std::int64_t kIdleAfterMs = 5'000;

class Idling : public test::DispatcherTest {
 protected:
  Idling() {
    schema::SetPolicy request;
    request.policy = schema::PolicyKind::kDeadline;
    request.min_quality = 0.5;
    request.idle_after_ms = kIdleAfterMs;
    request.canary_share = 1;
    set(request);
    connect_worker();
  }

  void set(const schema::SetPolicy& request) {
    dispatcher_.set_policy(request, [](const Result<schema::PolicyReply>& done) { EXPECT_TRUE(done.ok()); });
  }

  void connect_worker() {
    schema::Hello message = hello("w", "w", 4);
    message.context = 8'192;
    message.edition = "e1";
    for (std::uint32_t plan = 0; plan <= 4; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 100 * (4 - plan), 0});
    dispatcher_.on_hello("w", 1, message);
  }

  // Beats as it goes, or the worker would be taken for dead.
  void pass(std::int64_t ms) {
    for (std::int64_t step = 0; step < ms; step += 500) {
      beat("w", held_);
      test::DispatcherTest::pass(std::min<std::int64_t>(500, ms - step));
    }
  }

  // A job that the worker answered on plan 2.
  JobId answered(const std::string& text = "red box") {
    const JobId id = submit();
    answer(assigned("w").at(0), text, 2);
    return id;
  }

  void answer(const Lease& lease, const std::string& text, std::uint32_t plan) {
    schema::WorkerResult result = test::success(lease, text);
    result.metrics.plan = plan;
    result.metrics.prefill_work_ms = 10;
    dispatcher_.on_result("w", result);
  }

  std::vector<bool> told() {
    std::vector<bool> allowed;
    for (const schema::IdleWork& message : outbox_.take<schema::IdleWork>("w"))
      allowed.push_back(message.allowed);
    return allowed;
  }

  std::vector<Lease> held_;
};

TEST_F(Idling, RerunsBeginAfterTheTimeThatWasSetAndNotBefore) {
  const JobId id = answered();
  pass(kIdleAfterMs - 500);
  EXPECT_TRUE(assigned("w").empty());
  EXPECT_FALSE(dispatcher_.planner().report().idle);
  pass(1'000);
  const auto given = outbox_.take<schema::Assign>("w");
  ASSERT_EQ(given.size(), 1U);
  EXPECT_EQ(given[0].plan, 0U);
  EXPECT_TRUE(dispatcher_.planner().report().idle);
  const std::size_t news = events_.of(schema::kTopicJobState).size();
  answer(given[0].lease, "red box", 0);
  EXPECT_EQ(events_.of(schema::kTopicJobState).size(), news) << "nobody's news";
  EXPECT_EQ(test::must(read_result(db_, id)).rerun->agreement, 1.0);
  EXPECT_EQ(dispatcher_.planner().report().agreements.at(0).jobs, 1U);
}

TEST_F(Idling, AJobThatComesTakesTheRerunsPlaceAtOnce) {
  answered();
  pass(kIdleAfterMs + 500);
  const Lease rerun = assigned("w").at(0);
  held_ = {rerun};
  const JobId id = submit();
  const auto revoked = outbox_.take<schema::CancelLease>("w");
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0].lease, rerun);
  const std::vector<Lease> given = assigned("w");
  ASSERT_EQ(given.size(), 1U);
  EXPECT_EQ(given[0].job, id);
  held_ = {};
  answer(given[0], "an answer", 0);
  pass(kIdleAfterMs + 500);
  EXPECT_EQ(assigned("w").at(0), (Lease{rerun.job, rerun.attempt + 1})) << "later, without a failed attempt";
}

TEST_F(Idling, WorkersAreToldThatThereIsTimeOnceNothingIsToBeRunAgain) {
  answered();
  pass(kIdleAfterMs + 500);
  EXPECT_TRUE(told().empty());
  answer(assigned("w").at(0), "red box", 0);
  pass(500);
  EXPECT_THAT(told(), testing::ElementsAre(true));
  pass(1'000);
  EXPECT_TRUE(told().empty()) << "once";
  submit();
  EXPECT_THAT(told(), testing::ElementsAre(false));
}

TEST_F(Idling, AJobThatNobodyCanTakeKeepsNothingFromBeingDone) {
  answered();
  schema::JobRequest job = test::summarize();
  job.terms.model = "of nobody here";
  submit(job);
  pass(kIdleAfterMs + 1'000);
  EXPECT_EQ(assigned("w").size(), 1U);
}

TEST_F(Idling, IsOnlyDoneInItsHoursAndWhereItIsWanted) {
  answered();
  schema::SetPolicy request;
  const std::int64_t now_s = clock_.wall_ms() / 1'000;
  const auto time = static_cast<std::time_t>(now_s);
  std::tm local{};
  ::localtime_r(&time, &local);
  const int hour = (local.tm_hour + 2) % 24;
  request.idle_window = fmt::format("{:02}:00-{:02}:00", hour, (hour + 1) % 24);
  set(request);
  pass(kIdleAfterMs + 1'000);
  EXPECT_TRUE(assigned("w").empty());
  request.idle_window = "00:00-24:00";
  request.idle_after_ms = 0;
  set(request);
  pass(kIdleAfterMs + 1'000);
  EXPECT_TRUE(assigned("w").empty());
  request.idle_after_ms = 100;
  set(request);
  pass(500);
  EXPECT_EQ(assigned("w").size(), 1U);
}

TEST_F(Idling, APlanWhoseAnswersDisagreeIsGivenToNoJobUntilSomebodyAllowsIt) {
  for (int i = 0; i < 8; ++i) {
    answered("blue");
    pass(kIdleAfterMs + 500);
    answer(assigned("w").at(0), "red box", 0);
  }
  const schema::PolicyReply now = dispatcher_.planner().report();
  ASSERT_EQ(now.agreements.size(), 1U);
  EXPECT_TRUE(now.agreements[0].withdrawn);

  schema::SetPolicy request;
  request.policy = schema::PolicyKind::kStatic;
  request.static_plan = 3;
  set(request);
  submit();
  const auto given = outbox_.take<schema::Assign>("w");
  ASSERT_EQ(given.size(), 1U);
  EXPECT_EQ(given[0].plan, 1U) << "the largest below";
  answer(given[0].lease, "an answer", 1);
  request.min_agreement = 0;
  set(request);
  submit();
  EXPECT_EQ(outbox_.take<schema::Assign>("w").at(0).plan, 3U);
}

}  // namespace
}  // namespace dslad::daemon
