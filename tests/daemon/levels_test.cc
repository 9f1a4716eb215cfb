// Plans in force of several models in the dispatcher: what becomes of them is told, recorded and known again.
#include <gmock/gmock.h>

#include "daemon/store/policy_log.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::PolicyKind;

class Levels : public test::DispatcherTest {
 protected:
  Levels() {
    schema::SetPolicy request;
    request.policy = PolicyKind::kDeadline;
    request.target_drain_ms = 10'000;
    request.min_quality = 0.9;
    set(request);
  }

  schema::PolicyReply set(const schema::SetPolicy& request) {
    std::optional<schema::PolicyReply> reply;
    dispatcher_.set_policy(request,
                           [&](Result<schema::PolicyReply> done) { reply = test::must(std::move(done)); });
    return reply.value();
  }

  schema::PolicyReply use_static(std::uint32_t plan) {
    schema::SetPolicy request;
    request.policy = PolicyKind::kStatic;
    request.static_plan = plan;
    return set(request);
  }

  // A worker of four layers, all distilled, that holds one job beside the one that it works on; its peer,
  // name and model have one name.
  static schema::Hello serving(const std::string& model, std::uint32_t plans = 4) {
    schema::Hello message = hello(model, model, 4);
    message.model = model;
    message.model_digest = "digest of " + model;
    message.room = 1;
    message.context = 8'192;
    message.edition = "e1";
    for (std::uint32_t plan = 0; plan <= plans; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 100 * (4 - plan), 0});
    return message;
  }

  static schema::JobRequest document(const std::string& model) {
    schema::JobRequest job = test::summarize(std::string(1'000, 'x'));
    job.terms.model = model;
    return job;
  }

  // Jobs that end: a second on plan 0, a quarter of that on plan 4.
  void teach(const std::string& model) {
    for (int i = 0; i < 6; ++i) {
      submit(document(model));
      for (const schema::Assign& assign : outbox_.take<schema::Assign>(model)) {
        dispatcher_.on_room(model, {{assign.lease}, 1});
        schema::WorkerResult result = test::success(assign.lease);
        result.metrics.plan = i % 2 == 0 ? 0 : 4;
        result.metrics.prompt_tokens = 1'000;
        result.metrics.output_tokens = 10;
        result.metrics.prefill_work_ms = i % 2 == 0 ? 1'000 : 250;
        result.metrics.batch = 1;
        dispatcher_.on_result(model, result);
      }
    }
    pass(300);
  }

  std::vector<schema::JobId> submit_many(const std::string& model, int count) {
    const std::vector<schema::JobRequest> jobs(static_cast<std::size_t>(count), document(model));
    const schema::Submitted reply = test::must(test::enqueue_jobs(db_, jobs, {}, clock_.wall_ms(), "ada"));
    dispatcher_.jobs_queued();
    return reply.ids;
  }

  [[nodiscard]] schema::PolicyReply report() const { return dispatcher_.planner().report(); }
};

TEST_F(Levels, ABacklogOfOneModelLeavesTheOtherModelsWorkerAlone) {
  for (const char* model : {"big", "tiny"}) {
    dispatcher_.on_hello(model, 1, serving(model));
    teach(model);
  }
  beat("big", {});
  submit_many("tiny", 40);  // 40 s on plan 0, wanted in 10 s
  pass(1'500);
  EXPECT_EQ(outbox_.take<schema::SetWorkerPlan>("tiny").back().plan, 4U);
  EXPECT_TRUE(outbox_.take<schema::SetWorkerPlan>("big").empty());
  const schema::PolicyReply now = report();
  ASSERT_EQ(now.levels.size(), 2U);
  EXPECT_EQ(now.levels[0].model, "big");
  EXPECT_EQ(now.levels[0].plan, 0U);
  EXPECT_EQ(now.levels[0].why, "");
  EXPECT_EQ(now.levels[1].model_digest, "digest of tiny");
  EXPECT_EQ(now.levels[1].plan, 4U);
  EXPECT_EQ(now.plan, 4U) << "the largest";
  EXPECT_EQ(now.why, now.levels[1].why);
  submit(document("big"));
  EXPECT_EQ(outbox_.take<schema::Assign>("big").at(0).plan, 0U);
  const std::vector<schema::PolicyChange> changes = test::must(policy_changes(db_, 10));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].model, "tiny");
  EXPECT_EQ(changes[0].waiting_jobs, 40U);
  EXPECT_EQ(test::query_text(db_, "SELECT model || ' ' || model_digest || ' ' || to_plan FROM policy_events"),
            "tiny digest of tiny 4");
}

TEST_F(Levels, UnderThresholdAWorkerThatTakesAnyJobGivesItItsOwnModelsPlan) {
  schema::SetPolicy request;
  request.policy = PolicyKind::kThreshold;
  set(request);
  dispatcher_.set_mode(schema::QueueMode::kPaused, [](const Status&) {});
  dispatcher_.on_hello("tiny", 1, serving("tiny"));
  submit_many("tiny", 60);
  for (int i = 0; i < 70; ++i) {
    pass(1'000);
    beat("tiny", {});
  }
  ASSERT_EQ(report().plan, 2U);
  dispatcher_.on_hello("big", 1, serving("big"));
  submit_many("", 1);
  pass(300);
  dispatcher_.set_mode(schema::QueueMode::kOpen, [](const Status&) {});
  EXPECT_EQ(outbox_.take<schema::Assign>("tiny").at(0).plan, 2U);
  EXPECT_EQ(outbox_.take<schema::Assign>("big").at(0).plan, 0U);
}

TEST_F(Levels, AStaticPlanBeyondTheChainIsSaidAndNotClaimed) {
  dispatcher_.on_hello("tiny", 1, serving("tiny"));
  dispatcher_.on_hello("plain", 1, serving("plain", 0));
  const schema::PolicyReply reply = use_static(9);
  EXPECT_THAT(
      reply.notes,
      ::testing::ElementsAre(
          ::testing::HasSubstr("no worker of plain offers one above 0: its jobs are given plan 0 at most"),
          ::testing::HasSubstr("no worker of tiny offers one above 4: its jobs are given plan 4 at most")));
  pass(300);
  EXPECT_EQ(report().plan, 4U);
  EXPECT_THAT(report().why, ::testing::HasSubstr("plan 9 is static, and no worker offers one above 4"));
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(model || from_plan || to_plan) FROM policy_events"),
            "tiny04");
  submit(document("tiny"));
  const std::vector<schema::Assign> given = outbox_.take<schema::Assign>("tiny");
  EXPECT_EQ(given.at(0).plan, 4U);
  const std::vector<schema::JobId> ids = submit_many("tiny", 2);
  pass(300);
  EXPECT_THAT(dispatcher_.planner().forecast(ids.back()).value().why,
              ::testing::HasSubstr("plan 4 is the largest that a worker which can take it offers"));
  EXPECT_THAT(use_static(4).notes, ::testing::ElementsAre(::testing::HasSubstr("no worker of plain")));
  schema::SetPolicy deadline;
  deadline.policy = PolicyKind::kDeadline;
  EXPECT_THAT(set(deadline).notes,
              ::testing::ElementsAre(::testing::HasSubstr("no worker of plain has a distilled layer")));
}

TEST_F(Levels, WithoutAWorkerNoPlanIsInForce) {
  const schema::PolicyReply reply = use_static(9);
  pass(300);
  EXPECT_TRUE(report().levels.empty());
  EXPECT_EQ(report().plan, 0U);
  EXPECT_TRUE(reply.notes.empty()) << "nobody knows";
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM policy_events"), "0");
  dispatcher_.on_hello("tiny", 1, serving("tiny", 2));
  pass(1'500);
  EXPECT_EQ(report().plan, 2U);
  EXPECT_EQ(report().notes.size(), 1U);
}

TEST_F(Levels, WhatAFloorTakesFromAStaticPlanIsSaid) {
  dispatcher_.on_hello("tiny", 1, serving("tiny"));
  schema::SetPolicy request;
  request.policy = PolicyKind::kStatic;
  request.static_plan = 4;
  request.min_quality = 0.975;
  EXPECT_THAT(set(request).notes, ::testing::ElementsAre(::testing::HasSubstr("the floor of 0.975")));
  pass(300);
  EXPECT_EQ(report().plan, 2U);
}

TEST_F(Levels, OutliveTheDaemonAndFallByTheDwellWithARecord) {
  dispatcher_.on_hello("tiny", 1, serving("tiny"));
  teach("tiny");
  dispatcher_.jobs_ended(test::must(cancel(db_, submit_many("tiny", 40), clock_.wall_ms())).cancelled,
                         schema::JobState::kCancelled);
  const schema::PolicyReply before = report();
  ASSERT_EQ(before.plan, 4U);
  clock_.pass(1'000);

  DispatchConfig config = config_;
  config.policy.kind = PolicyKind::kDeadline;
  Dispatcher next{config, clock_, store_, outbox_, feed_};
  next.restore_levels(test::must(latest_policy_changes(db_)));
  EXPECT_TRUE(next.planner().report().levels.empty()) << "nobody serves the model yet";
  next.on_hello("tiny", 1, serving("tiny"));
  const auto pass_next = [&](std::int64_t ms) {
    for (; ms > 0; ms -= 100) {
      clock_.pass(100);
      next.on_heartbeat("tiny", {});
      next.tick();
    }
  };
  pass_next(config.policy.dwell_ms - 200);
  schema::PolicyReply now = next.planner().report();
  EXPECT_EQ(now.plan, 4U);
  EXPECT_EQ(now.why, before.why);
  EXPECT_EQ(now.since_ms, before.since_ms);
  pass_next(3'000);
  EXPECT_EQ(next.planner().report().plan, 0U);
  EXPECT_EQ(
      test::query_text(db_,
                       "SELECT from_plan || ' ' || to_plan || ' ' || why FROM policy_events ORDER BY id "
                       "DESC LIMIT 1"),
      "4 0 for 10 s plan 0 was enough");
}

TEST_F(Levels, ALevelThatAPersonSetMeanwhileIsTakenOverWithARecord) {
  dispatcher_.on_hello("tiny", 1, serving("tiny"));
  dispatcher_.set_plan({3, false, ""}, [](const Result<schema::PlanReply>&) {});
  schema::PlanResult taken;
  taken.request = outbox_.take<schema::SetWorkerPlan>("tiny").back().request;
  taken.plan = 3;
  dispatcher_.on_plan_result("tiny", taken);
  pass(300);
  EXPECT_EQ(report().levels.at(0).plan, 3U);
  EXPECT_EQ(report().levels.at(0).why, "set by hand");
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM policy_events"), "0");
  schema::SetPolicy request;
  request.policy = PolicyKind::kDeadline;
  set(request);
  pass(300);
  EXPECT_EQ(test::query_text(db_, "SELECT from_plan || ' ' || to_plan || ' ' || why FROM policy_events"),
            "0 3 it was set by hand before");
}

}  // namespace
}  // namespace dslad::daemon
