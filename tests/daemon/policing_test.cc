// The policy at work in the dispatcher: plans with claims, predictions, settings, and workers that follow.
#include <gmock/gmock.h>

#include "daemon/policy/announced.h"
#include "daemon/store/policy_log.h"
#include "daemon/store/settings.h"
#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using schema::PolicyKind;

class Policing : public test::DispatcherTest {
 protected:
  Policing() {
    use(PolicyKind::kDeadline);
    outbox_.take<schema::SetWorkerPlan>("w");
  }

  schema::PolicyReply use(PolicyKind kind, std::uint64_t target_ms = 10'000) {
    schema::SetPolicy request;
    request.policy = kind;
    request.target_drain_ms = target_ms;
    request.min_quality = 0.9;
    return set(request);
  }

  schema::PolicyReply set(const schema::SetPolicy& request) {
    std::optional<schema::PolicyReply> reply;
    dispatcher_.set_policy(request,
                           [&](Result<schema::PolicyReply> done) { reply = test::must(std::move(done)); });
    return reply.value();
  }

  // A worker of four layers that holds one job beside the one that it works on.
  void connect_worker(const std::string& name = "w") {
    schema::Hello message = hello(name, name, 4);
    message.room = 1;
    message.context = 8'192;
    message.edition = "e1";
    for (std::uint32_t plan = 0; plan <= 4; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 100 * (4 - plan), 0});
    dispatcher_.on_hello(name, 1, message);
  }

  // The job takes a second of work, a byte a token.
  schema::WorkerResult done(const Lease& lease, double work_ms = 1'000, std::uint32_t plan = 0) {
    schema::WorkerResult result = test::success(lease);
    result.metrics.plan = plan;
    result.metrics.prompt_tokens = 1'000;
    result.metrics.output_tokens = 10;
    result.metrics.prefill_work_ms = work_ms;
    result.metrics.decode_work_ms = 0;
    result.metrics.batch = 1;
    return result;
  }

  static schema::JobRequest document() { return test::summarize(std::string(1'000, 'x')); }

  // So many jobs in one go.
  std::vector<JobId> submit_many(int count) {
    const std::vector<schema::JobRequest> jobs(static_cast<std::size_t>(count), document());
    const schema::Submitted reply = test::must(test::enqueue_jobs(db_, jobs, {}, clock_.wall_ms(), "ada"));
    dispatcher_.jobs_queued();
    return reply.ids;
  }

  // Jobs that end, so that the daemon knows how fast the worker is on plans 0 and 4.
  void teach() {
    for (int i = 0; i < 6; ++i) {
      submit(document());
      for (const schema::Assign& assign : outbox_.take<schema::Assign>("w")) {
        dispatcher_.on_room("w", {{assign.lease}, 1});
        dispatcher_.on_result("w", done(assign.lease, i % 2 == 0 ? 1'000 : 250, i % 2 == 0 ? 0 : 4));
      }
    }
    pass(300);
  }

  // Of a job that comes and is not stored.
  Admission admission(const schema::JobRequest& job) {
    return dispatcher_.planner().admit({job}, "ada").at(0);
  }

  std::vector<schema::Assign> assigns() { return outbox_.take<schema::Assign>("w"); }
};

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

TEST_F(Policing, ADeadlineThatCannotBeMetIsRefusedWithTheEarliestTime) {
  connect_worker();
  teach();
  schema::JobRequest job = document();
  job.terms.deadline_in_ms = 2'000;
  const Admission taken = admission(job);
  EXPECT_FALSE(taken.refusal.has_value());
  EXPECT_NEAR(static_cast<double>(taken.finish_ms - clock_.wall_ms()), 1'000, 150);
  pass(100);
  job.terms.deadline_in_ms = 50;
  const Admission refused = admission(job);
  ASSERT_TRUE(refused.refusal.has_value());
  EXPECT_EQ(refused.refusal->code, ErrorCode::kRefused);
  EXPECT_NE(refused.refusal->message.find("the earliest"), std::string::npos);
  job.terms.best_effort = true;
  EXPECT_FALSE(admission(job).refusal.has_value());
}

TEST_F(Policing, WhatIsPromisedCountsOnJobsThatCameSinceTheQueueWasRead) {
  connect_worker();
  teach();
  schema::JobRequest job = document();
  job.terms.max_plan = 0;  // about a second each
  job.terms.deadline_in_ms = 3'500;
  int taken = 0;
  std::int64_t latest_ms = 0;
  for (int i = 0; i < 12; ++i) {  // all come before anybody reads the queue
    const Admission made = admission(job);
    if (made.refusal) continue;
    ++taken;
    latest_ms = std::max(latest_ms, made.finish_ms);
  }
  EXPECT_EQ(taken, 3);
  EXPECT_LE(latest_ms - clock_.wall_ms(), 3'500);
  // Those without a deadline stand in the way, too, where they were wanted before.
  pass(300);  // nobody stored those: they are forgotten
  job.terms.deadline_in_ms = 0;
  for (int i = 0; i < 3; ++i) admission(job);
  job.terms.deadline_in_ms = 600'000;
  EXPECT_GT(admission(job).finish_ms - clock_.wall_ms(), 3'500);
}

TEST_F(Policing, AJobThatBeginsLaterIsPromisedNoEndBeforeThat) {
  connect_worker();
  teach();
  schema::JobRequest job = document();
  job.terms.max_plan = 0;  // about a second
  job.start_in_ms = 3'600'000;
  const auto ends_in_ms = [&](const Admission& made) {
    return static_cast<double>(made.finish_ms - clock_.wall_ms());
  };
  EXPECT_NEAR(ends_in_ms(admission(job)), 3'601'000, 150);
  job.terms.deadline_in_ms = 3'602'000;
  const Admission taken = admission(job);
  EXPECT_FALSE(taken.refusal.has_value());
  EXPECT_NEAR(ends_in_ms(taken), 3'601'000, 150);
  job.terms.deadline_in_ms = 3'600'500;
  const Admission refused = admission(job);
  ASSERT_TRUE(refused.refusal.has_value());
  EXPECT_THAT(refused.refusal->message,
              ::testing::HasSubstr("the earliest that could be met is in about 3.6e+03 s"));
  job.terms.deadline_in_ms = 600'000;
  EXPECT_EQ(job.validate().error().code, ErrorCode::kInvalidArgument);
}

TEST_F(Policing, WhatWasPromisedToAJobThatBeginsLaterIsKept) {
  connect_worker();
  teach();
  schema::JobRequest job = document();
  job.terms.max_plan = 0;  // about a second each
  const auto taken = [&] {
    pass(300);  // what was tried before is forgotten
    int jobs = 0;
    for (int i = 0; i < 8; ++i) jobs += admission(job).refusal ? 0 : 1;
    return jobs;
  };
  job.terms.deadline_in_ms = 5'500;
  EXPECT_EQ(taken(), 5);
  schema::JobRequest later = job;
  later.start_in_ms = 4'000;
  later.terms.deadline_in_ms = 5'700;
  submit(later);
  EXPECT_EQ(taken(), 4);  // a fifth would have it miss its deadline
}

TEST_F(Policing, WhatIsPredictedOfAJobIsOfTheModelThatMustAnswerIt) {
  connect_worker();
  teach();
  schema::Hello other = hello("v", "v", 4);
  other.room = 1;
  other.model = "large";
  other.model_digest = "d2";
  dispatcher_.on_hello("v", 2, other);
  schema::JobRequest job = document();
  job.terms.model = "nobody's";
  EXPECT_EQ(admission(job).finish_ms, 0);
  job.terms.model = "large";
  EXPECT_EQ(admission(job).finish_ms, 0);  // nothing is known of its worker's speed
  for (int i = 0; i < 2; ++i) {
    submit(job);
    for (const schema::Assign& assign : outbox_.take<schema::Assign>("v")) {
      dispatcher_.on_room("v", {{assign.lease}, 1});
      dispatcher_.on_result("v", done(assign.lease, 3'000));
    }
  }
  schema::JobRequest small = document();
  small.terms.model = "tiny";
  const std::vector<schema::JobRequest> many(20, small);
  test::must(test::enqueue_jobs(db_, many, {}, clock_.wall_ms(), "ada"));
  dispatcher_.jobs_queued();
  pass(300);
  EXPECT_LT(admission(job).finish_ms - clock_.wall_ms(), admission(small).finish_ms - clock_.wall_ms());
}

TEST_F(Policing, ADeadlineThatBreaksAPromisedOneIsRefusedAndNamesTheJob) {
  connect_worker();
  teach();
  submit(document());
  ASSERT_EQ(assigns().size(), 1U);  // it has room for no other
  const auto refusal_with = [&](std::uint64_t deadline_in_ms) {
    schema::JobRequest job = document();
    job.terms.deadline_in_ms = deadline_in_ms;
    return admission(job).refusal;
  };
  std::uint64_t soonest_ms = 100;
  while (refusal_with(soonest_ms) && soonest_ms < 10'000) soonest_ms += 10;
  schema::JobRequest job = document();
  job.terms.deadline_in_ms = soonest_ms + 140;
  const JobId promised = submit(job);
  pass(100);  // the policy sees it, and forgets what was tried
  const std::optional<Error> refusal = refusal_with(soonest_ms + 20);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_THAT(refusal->message, ::testing::HasSubstr("would have job " + std::to_string(promised) + " miss"));
  EXPECT_THAT(refusal->message, ::testing::HasSubstr("the earliest that harms none"));
  EXPECT_FALSE(refusal_with(soonest_ms + 5'000).has_value());
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

// One worker with a chain, at work for a second more, and one without, which is idle.
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
