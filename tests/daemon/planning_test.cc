// Plans set by hand: confirmed by workers, then durable.
#include <gmock/gmock.h>

#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

class Planning : public test::DispatcherTest {
 protected:
  void ask(std::uint32_t plan) {
    dispatcher_.set_plan({plan, true, "the operator said so"},
                         [this](Result<schema::PlanReply> reply) { replies_.push_back(std::move(reply)); });
  }

  // The worker does as it was told.
  void confirm(const std::string& peer) {
    for (const schema::SetWorkerPlan& change : outbox_.take<schema::SetWorkerPlan>(peer)) {
      schema::PlanResult result;
      result.request = change.request;
      result.plan = change.plan;
      result.generation = change.generation;
      result.changes = {{0, schema::LayerState::kTransformer, schema::LayerState::kActive, ""}};
      result.layer_info = {{0, 0, schema::LayerState::kActive, false}};
      dispatcher_.on_plan_result(peer, result);
    }
  }

  std::vector<Result<schema::PlanReply>> replies_;
};

TEST_F(Planning, WithoutWorkersIsUnavailable) {
  ask(1);
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().code, ErrorCode::kUnavailable);
}

TEST_F(Planning, ConfirmedChangeIsRecordedWithItsReason) {
  connect("w");
  ask(1);
  EXPECT_TRUE(replies_.empty());
  confirm("w");
  ASSERT_EQ(replies_.size(), 1U);
  ASSERT_TRUE(replies_[0].ok());
  EXPECT_EQ(replies_[0]->workers.at(0).plan, 1U);
  EXPECT_EQ(test::query_text(db_, "SELECT to_state || ':' || reason || ':' || worker FROM conversion_events"),
            "active:the operator said so:w");
  EXPECT_EQ(test::query_text(db_, "SELECT state FROM layer_status WHERE layer = 0"), "active");
  EXPECT_EQ(events_.of(schema::kTopicPlan).size(), 1U);
  EXPECT_EQ(dispatcher_.plans().workers.at(0).plan, 1U);
}

TEST_F(Planning, ReplyWaitsForEveryWorker) {
  connect("a");
  connect("b");
  ask(1);
  confirm("a");
  EXPECT_TRUE(replies_.empty());
  confirm("b");
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0]->workers.size(), 2U);
}

TEST_F(Planning, RefusalReachesTheClientAndNamesTheWorker) {
  connect("w");
  ask(1);
  schema::PlanResult refusal;
  refusal.request = outbox_.take<schema::SetWorkerPlan>("w").at(0).request;
  refusal.error = Error{ErrorCode::kRefused, "layer 0 has no distilled weights"};
  dispatcher_.on_plan_result("w", refusal);
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().code, ErrorCode::kRefused);
  EXPECT_THAT(replies_[0].error().message, testing::HasSubstr("w: layer 0"));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM conversion_events"), "0");
}

TEST_F(Planning, SilentWorkerEndsInATimeout) {
  connect("w");
  ask(1);
  for (int i = 0; i < 52; ++i) {
    pass(100);
    beat("w", {});
  }
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().code, ErrorCode::kUnavailable);
}

TEST_F(Planning, DaemonThatStopsAnswersThoseWhoWait) {
  connect("a");
  ask(1);
  dispatcher_.drain();
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().code, ErrorCode::kUnavailable);
  confirm("a");  // too late, and without harm
  EXPECT_EQ(replies_.size(), 1U);
}

TEST_F(Planning, WorkerThatLeavesEndsTheChange) {
  connect("w");
  ask(1);
  dispatcher_.on_goodbye("w", {});
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_EQ(replies_[0].error().code, ErrorCode::kUnavailable);
}

// It once was told to have left before it confirmed the plan.
TEST_F(Planning, WorkerThatConfirmsAndLeavesBeforeThatIsOnDiskHasConfirmed) {
  connect("w");
  ask(1);
  store_.hold(test::InlineExecutor::Hold::kFinish);
  confirm("w");
  dispatcher_.on_goodbye("w", {"it stops", std::nullopt});
  EXPECT_TRUE(replies_.empty());
  store_.let_go();
  ASSERT_EQ(replies_.size(), 1U);
  ASSERT_TRUE(replies_[0].ok()) << replies_[0].error().message;
  EXPECT_EQ(replies_[0]->workers.at(0).plan, 1U);
  EXPECT_EQ(replies_[0]->workers.at(0).model, "tiny");
}

TEST_F(Planning, WorkerThatComesBackDuringAChangeIsAskedAgainAndItsAnswerCounts) {
  connect("w");
  ask(1);
  outbox_.take<schema::SetWorkerPlan>("w");  // lost with the connection
  connect("w");
  confirm("w");
  ASSERT_EQ(replies_.size(), 1U);
  EXPECT_TRUE(replies_[0].ok());
}

TEST_F(Planning, WorkerThatJoinsLaterIsBroughtToThePlan) {
  connect("w");
  ask(1);
  confirm("w");
  connect("late");
  const auto changes = outbox_.take<schema::SetWorkerPlan>("late");
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].plan, 1U);
  EXPECT_TRUE(changes[0].allow_undistilled);
}

TEST_F(Planning, WorkerThatJoinsDuringAChangeIsBroughtToTheNewPlan) {
  connect("w");
  ask(1);
  confirm("w");
  ask(2);  // w has not confirmed it yet
  connect("late");
  auto changes = outbox_.take<schema::SetWorkerPlan>("late");
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].plan, 2U);
  outbox_.take<schema::SetWorkerPlan>("w");
  connect("w");  // lost its connection, and with it the request
  changes = outbox_.take<schema::SetWorkerPlan>("w");
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].plan, 2U);
}

TEST_F(Planning, WorkerThatRefusesTheLatestPlanIsBroughtToTheStoredOne) {
  connect("w");
  ask(1);
  confirm("w");
  ask(2);
  connect("late");
  schema::PlanResult refusal;
  refusal.request = outbox_.take<schema::SetWorkerPlan>("late").at(0).request;
  refusal.error = Error{ErrorCode::kRefused, "layer 1 has no distilled weights"};
  dispatcher_.on_plan_result("late", refusal);
  const auto changes = outbox_.take<schema::SetWorkerPlan>("late");
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].plan, 1U);
}

TEST_F(Planning, WorkerIsNotBroughtToThePlanOfAnotherModel) {
  connect("w");
  ask(1);
  confirm("w");
  connect("late");  // is being brought to plan 1 of its model
  schema::Hello other = hello("other", "other");
  other.model_digest = "d2";
  dispatcher_.on_hello("other", 1, other);
  EXPECT_TRUE(outbox_.take<schema::SetWorkerPlan>("other").empty());
}

TEST_F(Planning, WorkerOfANewerGenerationKeepsItsPlan) {
  connect("w");
  ask(1);
  confirm("w");
  schema::Hello ahead = hello("ahead", "ahead");
  ahead.plan = 3;
  ahead.generation = 9;  // set by a daemon that died before it could store it
  dispatcher_.on_hello("ahead", 1, ahead);
  EXPECT_TRUE(outbox_.take<schema::SetWorkerPlan>("ahead").empty());
  ask(2);
  EXPECT_EQ(outbox_.take<schema::SetWorkerPlan>("ahead").at(0).generation, 10U);
}

}  // namespace
}  // namespace dslad::daemon
