// The policy at work in the dispatcher: plans with claims, settings, what it learns, and workers that follow.
#include "daemon/policy/announced.h"
#include "daemon/store/policy_log.h"
#include "daemon/store/settings.h"
#include "tests/daemon/policing_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using schema::PolicyKind;
using test::Policing;

TEST_F(Policing, JobsOfAnIdleWorkerBeginOnPlanZeroAndTheRecordSaysWhy) {
  connect_worker();
  teach();
  const JobId id = submit(document());
  const std::vector<schema::Assign> given = assigns();
  ASSERT_EQ(given.size(), 1U);
  EXPECT_EQ(given[0].plan, 0U);
  dispatcher_.on_result("w", done(given[0].lease));
  EXPECT_FALSE(test::must(read_result(db_, id)).metrics.why.empty());
  EXPECT_EQ(test::must(read_verdict(db_, id)).plan, 0U);
}

TEST_F(Policing, ABacklogIsGivenCheaperPlansAndTheWorkerFollows) {
  connect_worker();
  teach();
  const std::vector<JobId> ids = submit_many(40);  // 40 s on plan 0, wanted in 10 s
  const std::vector<schema::Assign> first = assigns();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].plan, 4U);  // already the first: all came at once
  const schema::PolicyReply now = dispatcher_.planner().report();
  EXPECT_EQ(now.plan, 4U);
  EXPECT_EQ(now.waiting_jobs, 40U);
  EXPECT_NEAR(static_cast<double>(now.waiting_tokens), 40'000, 500);
  EXPECT_FALSE(now.why.empty());
  const auto asked = outbox_.take<schema::SetWorkerPlan>("w");
  ASSERT_FALSE(asked.empty());
  EXPECT_EQ(asked.back().plan, 4U);
  EXPECT_NE(asked.back().reason.find("policy deadline"), std::string::npos);
  dispatcher_.on_room("w", {{first[0].lease}, 1});
  const std::vector<schema::Assign> second = assigns();
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].plan, 4U);
  const std::optional<Forecast> last = dispatcher_.planner().forecast(ids.back());
  ASSERT_TRUE(last.has_value());
  EXPECT_EQ(last->place, 40U);
  EXPECT_GT(last->finish_ms, clock_.wall_ms() + 5'000);
  EXPECT_LT(last->finish_ms, clock_.wall_ms() + 20'000);
  const std::vector<schema::PolicyChange> changes = test::must(policy_changes(db_, 10));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].from, 0U);
  EXPECT_EQ(changes[0].to, 4U);
}

TEST_F(Policing, JobsOfAPlanThatFailedRunOnPlanZeroAndOthersOnWhatIsLeft) {
  connect_worker();
  teach();
  const std::vector<JobId> ids = submit_many(40);
  const Lease first = assigns().at(0).lease;
  schema::WorkerResult failed = test::failure(first, ErrorCode::kCorrupt);
  failed.metrics.plan = 4;
  dispatcher_.on_result("w", failed);
  const std::vector<schema::Assign> before = assigns();  // the worker has not said yet what is left
  schema::PlanTable left;
  left.edition = "e1";
  for (std::uint32_t plan = 0; plan <= 2; ++plan) left.plans.push_back({plan, 1 - 0.01 * plan, 100, 0});
  for (std::uint32_t layer = 0; layer < 4; ++layer) {
    left.layer_info.push_back({layer, static_cast<std::int32_t>(layer),
                               layer == 2 ? schema::LayerState::kFailed : schema::LayerState::kDistilled,
                               true});
  }
  dispatcher_.on_plans("w", left);
  EXPECT_EQ(info(first.job).max_plan, 0U);
  EXPECT_EQ(test::query_text(db_, "SELECT reason FROM conversion_events WHERE to_state = 'failed'"),
            "worker w cannot use it: it went wrong");
  for (const schema::Assign& given : before) {
    if (given.lease.job == first.job) {
      EXPECT_EQ(given.plan, 0U);
    }
    dispatcher_.on_result("w", done(given.lease, 1'000, given.plan.value_or(9)));
  }
  for (std::size_t done_jobs = before.size(); done_jobs < 40;) {
    for (const schema::Assign& given : assigns()) {
      EXPECT_LE(given.plan.value_or(9), given.lease.job == first.job ? 0U : 2U) << given.lease.job;
      dispatcher_.on_result("w", done(given.lease, 1'000, given.plan.value_or(9)));
      ++done_jobs;
    }
    pass(100);
    ASSERT_LT(clock_.steady_ms(), 10'000'000);
  }
  for (const JobId id : ids) EXPECT_EQ(state(id), JobState::kSucceeded);
}

TEST_F(Policing, AfterTheLoadThePlanGoesBack) {
  connect_worker();
  teach();
  const std::vector<JobId> ids = submit_many(40);
  pass(300);
  ASSERT_EQ(dispatcher_.planner().report().plan, 4U);
  dispatcher_.jobs_ended(test::must(cancel(db_, ids, clock_.wall_ms())).cancelled, JobState::kCancelled);
  for (int i = 0; i < 13; ++i) {
    beat("w", {});
    pass(2'000 - 100);
  }
  EXPECT_EQ(dispatcher_.planner().report().plan, 0U);
}

TEST_F(Policing, TermsOfAJobBindEveryPolicy) {
  connect_worker();
  schema::SetPolicy request;
  request.policy = PolicyKind::kStatic;
  request.static_plan = 3;
  set(request);
  schema::JobRequest job = document();
  job.terms.max_plan = 1;
  submit(job);
  EXPECT_EQ(assigns().at(0).plan, 1U);
}

TEST_F(Policing, UnderManualTheWorkersPlanIsInForceWithinAJobsTerms) {
  schema::Hello message = hello("w", "w", 4);
  message.plan = 4;
  for (std::uint32_t plan = 0; plan <= 4; ++plan) message.plans.push_back({plan, 1 - 0.1 * plan, 100, 0});
  dispatcher_.on_hello("w", 1, message);
  use(PolicyKind::kManual);
  submit(document());
  EXPECT_EQ(assigns().at(0).plan, std::nullopt);
  schema::JobRequest job = document();
  job.terms.min_quality = 0.75;
  submit(job);
  EXPECT_EQ(assigns().at(0).plan, 2U);
}

// A plan that was set and is on its way may be the worker's before the job is there.
TEST_F(Policing, AJobWithTermsIsToldItsPlanUnderManualToo) {
  schema::Hello message = hello("w", "w", 4);
  for (std::uint32_t plan = 0; plan <= 4; ++plan) message.plans.push_back({plan, 1 - 0.1 * plan, 100, 0});
  dispatcher_.on_hello("w", 1, message);
  use(PolicyKind::kManual);
  dispatcher_.set_plan({4, false, ""}, [](const Result<schema::PlanReply>&) {});
  schema::JobRequest exact = document(), good = document();
  exact.terms.max_plan = 0;
  good.terms.min_quality = 0.95;
  for (const schema::JobRequest& job : {exact, good}) {
    submit(job);
    const schema::Assign given = assigns().at(0);
    EXPECT_EQ(given.plan, 0U);
    EXPECT_EQ(given.min_quality, job.terms.min_quality.value_or(0));
  }
}

TEST_F(Policing, AJobsPlanComesWithTheQualityThatItMustHave) {
  connect_worker();
  schema::SetPolicy request;
  request.policy = PolicyKind::kStatic;
  request.static_plan = 1;
  request.min_quality = 0.5;
  set(request);
  schema::JobRequest job = document();
  submit(job);
  const schema::Assign first = assigns().at(0);
  EXPECT_EQ(first.min_quality, 0.5);
  dispatcher_.on_room("w", {{first.lease}, 1});
  job.terms.min_quality = 0.75;
  submit(job);
  EXPECT_EQ(assigns().at(0).min_quality, 0.75);
}

// A worker that had not got its jobs when the daemon died gets them again: on the plan that they allow,
// whatever it is on by then.
TEST_F(Policing, AJobThatIsHandedOverAgainAfterARestartKeepsItsPlan) {
  schema::Hello message = hello("w", "w", 4);
  message.plan = 4;
  for (std::uint32_t plan = 0; plan <= 4; ++plan) message.plans.push_back({plan, 1 - 0.01 * plan, 100, 0});
  dispatcher_.on_hello("w", 1, message);
  use(PolicyKind::kManual);
  schema::JobRequest exact = document(), good = document();
  exact.terms.max_plan = 0;
  good.terms.min_quality = 0.98;
  submit(exact);
  submit(good);
  submit(document());
  ASSERT_EQ(assigns().size(), 3U);
  Dispatcher restarted(config_, clock_, store_, outbox_, feed_);
  restarted.expect_back(test::must(stored_leases(db_)));
  restarted.on_hello("w", 1, message);
  const std::vector<schema::Assign> again = assigns();
  ASSERT_EQ(again.size(), 3U);
  EXPECT_EQ(again[0].plan, 0U);
  EXPECT_EQ(again[1].plan, 2U);
  EXPECT_DOUBLE_EQ(again[1].min_quality, 0.98);
  EXPECT_EQ(again[2].plan, std::nullopt) << "the plan in force";
}

TEST_F(Policing, PredictionsUnderManualAreOfThePlanInForce) {
  connect_worker();
  teach();
  use(PolicyKind::kManual);
  const auto last_finish = [&](const std::vector<JobId>& ids) {
    pass(300);
    return dispatcher_.planner().forecast(ids.back()).value().finish_ms - clock_.wall_ms();
  };
  const std::vector<JobId> ids = submit_many(20);
  const std::int64_t on_plan_0_ms = last_finish(ids);
  schema::PlanResult taken;
  taken.plan = 4;
  dispatcher_.on_plan_result("w", taken);
  EXPECT_LT(last_finish(ids), on_plan_0_ms / 2);
}

TEST_F(Policing, SettingAPlanByHandMakesThePolicyManual) {
  connect_worker();
  dispatcher_.set_plan({2, false, ""}, [](const Result<schema::PlanReply>&) {});
  EXPECT_EQ(dispatcher_.planner().settings().kind, PolicyKind::kManual);
  EXPECT_EQ(test::must(read_settings(db_)).at("policy"), "manual");
  EXPECT_EQ(outbox_.take<schema::SetWorkerPlan>("w").back().plan, 2U);
  pass(3'000);
  EXPECT_TRUE(outbox_.take<schema::SetWorkerPlan>("w").empty());  // nobody takes it back
}

TEST_F(Policing, SettingsSurviveARestartAndNonsenseIsPassedOver) {
  schema::SetPolicy request;
  request.policy = PolicyKind::kStatic;
  request.static_plan = 2;
  request.min_quality = 0.5;
  request.dwell_ms = 1'234;
  set(request);
  std::map<std::string, std::string> stored = test::must(read_settings(db_));
  stored["target_drain_ms"] = "soon";
  Dispatcher next{config_, clock_, store_, outbox_, feed_};
  next.restore_policy(stored);
  EXPECT_EQ(next.planner().settings().kind, PolicyKind::kStatic);
  EXPECT_EQ(next.planner().settings().static_plan, 2U);
  EXPECT_EQ(next.planner().settings().min_quality, 0.5);
  EXPECT_EQ(next.planner().settings().dwell_ms, 1'234);
  EXPECT_EQ(next.planner().settings().target_drain_ms, config_.policy.target_drain_ms);
}

TEST_F(Policing, WhatWasLeftOutOrReadInPartsTellsNothingWrongOfATokensLength) {
  connect_worker();
  teach();
  const auto bytes_per_token = [&] {
    return dispatcher_.planner().report().cost_models.at(0).bytes_per_token;
  };
  const double before = bytes_per_token();
  for (int i = 0; i < 40; ++i) {
    submit(document());
    for (const schema::Assign& assign : assigns()) {
      dispatcher_.on_room("w", {{assign.lease}, 1});
      schema::WorkerResult result = done(assign.lease, 1'000, 0);
      if (i % 2 == 0) {
        result.metrics.cut_tokens = 9 * result.metrics.prompt_tokens;  // a tenth of it was read
        result.metrics.prompt_tokens /= 10;
        result.metrics.cut_tokens /= 10;
      } else {
        result.metrics.parts = 4;
      }
      dispatcher_.on_result("w", result);
    }
  }
  EXPECT_NEAR(bytes_per_token(), before, 0.05 * before);
}

TEST_F(Policing, WhatAChangeOfThePlanCostsIsWhatTheWorkerHasReadAndIsAskedAbout) {
  connect_worker();
  teach();
  EXPECT_EQ(dispatcher_.planner().report().change_cost_ms, 0U);
  // The same document again, of which the worker still knows most.
  submit(document());
  for (const schema::Assign& assign : outbox_.take<schema::Assign>("w")) {
    dispatcher_.on_room("w", {{assign.lease}, 1});
    schema::WorkerResult result = done(assign.lease, 100);
    result.metrics.reused_tokens = 896;
    result.metrics.edition = "e1";
    dispatcher_.on_result("w", result);
  }
  pass(300);
  const schema::PolicyReply reply = dispatcher_.planner().report();
  EXPECT_GT(reply.change_cost_ms, 10U);
  EXPECT_LT(reply.change_cost_ms, 2'000U);
}

TEST_F(Policing, TheErrorOfItsPredictionsIsPublished) {
  connect_worker();
  EXPECT_TRUE(dispatcher_.planner().cost_models().empty());
  teach();
  const std::vector<schema::CostModelInfo> models = dispatcher_.planner().cost_models();
  ASSERT_EQ(models.size(), 1U);
  EXPECT_EQ(models[0].jobs, 6U);
  EXPECT_NEAR(models[0].bytes_per_token, 1, 0.01);
  EXPECT_EQ(models[0].coefficients.size(), 7U);
  EXPECT_EQ(models[0].plan_speeds.size(), 2U) << "plans 0 and 4";
}

// dslactl simulates workers by what `status` says of them.
TEST_F(Policing, ClientsFindWhatWasLearntOfAWorkerByItsStatus) {
  connect_worker("host:1:cpu");
  submit(document());
  for (const schema::Assign& assign : outbox_.take<schema::Assign>("host:1:cpu"))
    dispatcher_.on_result("host:1:cpu", done(assign.lease));
  const schema::WorkerInfo info = dispatcher_.workers().at(0);
  EXPECT_EQ(policy::speed_key(info), dispatcher_.planner().cost_models().at(0).workers);
  const policy::WorkerFacts facts = policy::facts_of(info);
  EXPECT_EQ(facts.context, 8'192U);
  ASSERT_EQ(facts.plans.size(), 5U);
  EXPECT_EQ(facts.plans[4].quality, 1 - 0.01 * 4);
  EXPECT_EQ(facts.plans[1].kv_bytes_per_token, 300U);
}

TEST_F(Policing, WhatWorkersDidBeforeARestartIsRecalled) {
  connect_worker("host:1:cpu");
  for (int i = 0; i < 3; ++i) {
    submit(document());
    for (const schema::Assign& assign : outbox_.take<schema::Assign>("host:1:cpu")) {
      schema::WorkerResult result = done(assign.lease);
      result.metrics.edition = "e1";
      dispatcher_.on_result("host:1:cpu", result);
    }
  }
  Dispatcher next{config_, clock_, store_, outbox_, feed_};
  const auto jobs_after = [&](const std::string& name, const std::string& edition) {
    schema::Hello message = hello(name, name, 4);
    message.edition = edition;
    next.on_hello(name, 1, message);
    std::uint64_t jobs = 0;
    for (const schema::CostModelInfo& model : next.planner().cost_models()) jobs += model.jobs;
    return jobs;
  };
  EXPECT_EQ(jobs_after("other:2:cpu", "e1"), 0U);  // another machine
  EXPECT_EQ(jobs_after("host:2:cuda:0", "e1"), 0U);
  EXPECT_EQ(jobs_after("host:2:cpu", "e2"), 0U);  // other layers
  EXPECT_EQ(jobs_after("host:2:cpu", "e1"), 3U);
  EXPECT_EQ(jobs_after("host:3:cpu", "e1"), 3U);  // nothing twice
}

TEST_F(Policing, AWorkerThatRefusesThePlanIsNotAskedAgainAndAgain) {
  connect_worker();
  teach();
  submit_many(40);
  pass(300);
  const auto asked = outbox_.take<schema::SetWorkerPlan>("w");
  ASSERT_EQ(asked.size(), 1U);
  schema::PlanResult refusal;
  refusal.request = asked[0].request;
  refusal.error = Error{ErrorCode::kRefused, "no such layer"};
  dispatcher_.on_plan_result("w", refusal);
  for (int i = 0; i < 3; ++i) {
    beat("w", {});
    pass(1'500);
  }
  EXPECT_TRUE(outbox_.take<schema::SetWorkerPlan>("w").empty());
}

TEST_F(Policing, WhoSetsAFloorIsToldWhichModelsItLeavesNoPlanAbove0) {
  EXPECT_THAT(use(PolicyKind::kDeadline).notes, ::testing::IsEmpty()) << "nobody is connected";
  connect_worker("w");
  connect_worker("of the same model");
  EXPECT_THAT(use(PolicyKind::kDeadline).notes, ::testing::IsEmpty());
  schema::SetPolicy request;
  request.min_quality = 1;
  const auto note = ::testing::ElementsAre(
      "min_quality 100% leaves tiny no plan above 0: the best is plan 1, of 99% of plan 0's quality");
  EXPECT_THAT(set(request).notes, note);
  EXPECT_THAT(dispatcher_.planner().report().notes, note) << "policy show";
  schema::PlanTable table;
  table.edition = "e2";
  for (std::uint32_t plan = 0; plan <= 4; ++plan) table.plans.push_back({plan, std::nullopt, 100, 0});
  dispatcher_.on_plans("w", table);
  dispatcher_.on_plans("of the same model", table);
  request.min_quality = 0.5;
  EXPECT_THAT(
      set(request).notes,
      ::testing::ElementsAre("min_quality 50% leaves tiny no plan above 0: none was measured, and such "
                             "need a min_quality of 0"));
  request.min_quality = 0;
  EXPECT_THAT(set(request).notes, ::testing::IsEmpty());
}

TEST_F(Policing, WhatOfAChainIsNotUsedIsSaidWhateverThePolicy) {
  connect_worker("w");
  schema::PlanTable table;
  table.edition = "e1";
  for (std::uint32_t plan = 0; plan <= 4; ++plan) table.plans.push_back({plan, 1.0, 100, 0});
  table.chain_fault = "layer-01.safetensors is damaged; the old chain stays in force";
  dispatcher_.on_plans("w", table);
  const auto note = ::testing::ElementsAre(::testing::HasSubstr("tiny of worker w: layer-01.safetensors"));
  EXPECT_THAT(use(PolicyKind::kManual).notes, note);
  EXPECT_THAT(use(PolicyKind::kDeadline).notes, note);
  EXPECT_EQ(dispatcher_.workers().at(0).chain_fault, table.chain_fault);
  table.chain_fault.clear();
  dispatcher_.on_plans("w", table);
  EXPECT_THAT(use(PolicyKind::kDeadline).notes, ::testing::IsEmpty());
}

}  // namespace
}  // namespace dslad::daemon
