// What the daemon does while no user's job waits or runs.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "daemon/store/layers.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
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

  // Of four layers, the last is the first of the order.
  static schema::Hello offer() {
    schema::Hello message = hello("w", "w", 4);
    message.context = 8'192;
    message.edition = "e1";
    for (std::uint32_t plan = 0; plan <= 4; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 100 * (4 - plan), 0});
    for (std::uint32_t layer = 0; layer < 4; ++layer)
      message.layer_info.push_back(
          {layer, 3 - static_cast<std::int32_t>(layer), schema::LayerState::kDistilled, true});
    return message;
  }
  void connect_worker() { dispatcher_.on_hello("w", 1, offer()); }

  // Each is run again, and the answers of plan 2 are others.
  void disagree() {
    for (int i = 0; i < 8; ++i) {
      answered("blue");
      pass(kIdleAfterMs + 500);
      answer(assigned("w").at(0), "red box", 0);
    }
  }

  std::string text(const char* sql) { return test::query_text(db_, sql); }

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
  disagree();
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

TEST_F(Idling, APlanThatIsWithdrawnIsRecordedWithItsNumbersAndSoIsThatItIsGivenAgain) {
  constexpr const char* kLayer = "SELECT state FROM layer_status WHERE layer = 2";  // plan 2 ends with it
  constexpr const char* kEvents =
      "SELECT count(*) FROM conversion_events WHERE layer = 2 AND to_state = 'failed'";
  constexpr const char* kNumbers =
      "answers of plan 2 (edition e1) agree to 0% with plan 0's over the latest 8 jobs, and "
      "policy.min_agreement is 50%";
  EXPECT_EQ(text(kLayer), "distilled");
  disagree();
  EXPECT_EQ(text(kLayer), "failed");
  EXPECT_EQ(text("SELECT group_concat(layer) FROM layer_status WHERE state = 'failed'"), "2");
  EXPECT_EQ(text(kEvents), "1");
  EXPECT_THAT(text("SELECT reason FROM conversion_events ORDER BY id DESC LIMIT 1"),
              ::testing::HasSubstr(kNumbers));
  EXPECT_THAT(text("SELECT why FROM policy_events ORDER BY id DESC LIMIT 1"), ::testing::HasSubstr(kNumbers));
  EXPECT_THAT(test::must(read_layers(db_)).at(0).layers.at(2).reason, ::testing::HasSubstr(kNumbers));

  connect_worker();  // it knows nothing of that
  EXPECT_EQ(text(kLayer), "failed");
  EXPECT_EQ(text(kEvents), "1");
  const std::string changes = text("SELECT count(*) FROM policy_events");
  answered("blue");
  pass(kIdleAfterMs + 500);
  answer(assigned("w").at(0), "red box", 0);
  EXPECT_EQ(text("SELECT count(*) FROM policy_events"), changes) << "once";

  {
    test::FakeOutbox outbox;
    Dispatcher next(config_, clock_, store_, outbox, feed_);  // as after a kill
    next.on_hello("w", 1, offer());
    EXPECT_EQ(text(kLayer), "failed") << "before the agreements are read, too";
    next.recall_agreements();
    EXPECT_EQ(text(kLayer), "failed");
    EXPECT_EQ(text(kEvents), "1");
    EXPECT_EQ(text("SELECT count(*) FROM policy_events"), changes);
  }

  schema::SetPolicy request;
  request.min_agreement = 0;
  set(request);
  EXPECT_EQ(text(kLayer), "distilled");
  EXPECT_THAT(text("SELECT why FROM policy_events ORDER BY id DESC LIMIT 1"),
              ::testing::StartsWith("plans of tiny from 2 on are given again: "));
  request.min_agreement = 0.5;
  set(request);
  EXPECT_EQ(text(kLayer), "failed");
  schema::Hello replaced = offer();
  replaced.edition = "e2";
  dispatcher_.on_plans("w", {replaced.edition, replaced.plans, 0, replaced.layer_info, {}});
  EXPECT_EQ(text(kLayer), "distilled") << "another chain";
}

// What runs is shown to run, and fails when its worker leaves the plan.
TEST_F(Idling, ALayerOfAWithdrawnPlanThatRunsFailsWhenItRunsNoMore) {
  schema::Hello running = offer();
  running.plan = 2;
  running.layer_info[3].state = running.layer_info[2].state = schema::LayerState::kActive;
  dispatcher_.on_hello("w", 1, running);
  outbox_.take<schema::SetWorkerPlan>("w");
  disagree();
  pass(1'000);
  const auto asked = outbox_.take<schema::SetWorkerPlan>("w");
  ASSERT_FALSE(asked.empty());
  schema::PlanResult done;
  done.request = asked.back().request;
  done.plan = 0;
  done.generation = asked.back().generation;
  done.layer_info = running.layer_info;
  for (const std::uint32_t layer : {2U, 3U}) {
    done.layer_info[layer].state = schema::LayerState::kReverted;
    done.changes.push_back({layer, schema::LayerState::kActive, schema::LayerState::kReverted, ""});
  }
  dispatcher_.on_plan_result("w", done);
  EXPECT_EQ(text("SELECT state FROM layer_status WHERE layer = 2"), "failed");
  EXPECT_EQ(text("SELECT state FROM layer_status WHERE layer = 3"), "reverted");
  EXPECT_THAT(text("SELECT from_state || ' ' || reason FROM conversion_events WHERE layer = 2 ORDER BY id "
                   "DESC LIMIT 1"),
              ::testing::StartsWith("active plans of tiny from 2 on are given to no job: "));
}

}  // namespace
}  // namespace dslad::daemon
