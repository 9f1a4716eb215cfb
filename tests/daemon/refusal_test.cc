// Jobs that a worker's cache has no room for on the plan that they were given.
#include <gmock/gmock.h>

#include "tests/daemon/dispatcher_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using schema::PolicyKind;
using testing::ElementsAre;
using testing::HasSubstr;

// Of a worker, on each plan: 1,000 bytes a token and layer that attends, and 10,000 of states a layer that
// does not.
class Refusals : public test::DispatcherTest {
 protected:
  Refusals() { use(PolicyKind::kDeadline); }

  void use(PolicyKind kind, double min_quality = 0.9) {
    schema::SetPolicy request;
    request.policy = kind;
    request.min_quality = min_quality;
    dispatcher_.set_policy(request, [](Result<schema::PolicyReply> done) { test::must(std::move(done)); });
  }

  static schema::Hello sized(const std::string& name, std::uint64_t cache_bytes) {
    schema::Hello message = hello(name, name, 1);
    message.context = 8'192;
    message.edition = "e1";
    message.cache_bytes = cache_bytes;
    for (std::uint32_t plan = 0; plan <= 3; ++plan)
      message.plans.push_back({plan, 1 - 0.01 * plan, 1'000 * (4 - plan), 10'000 * plan});
    return message;
  }
  void connect(const std::string& name, std::uint64_t cache_bytes) {
    dispatcher_.on_hello(name, 1, sized(name, cache_bytes));
  }

  static std::uint64_t bytes_of(std::uint64_t tokens, std::uint32_t plan, std::uint32_t sequences = 1) {
    return tokens * 1'000 * (4 - plan) + std::uint64_t{10'000} * plan * sequences;
  }

  // The job's next attempt, and the plan that it is given.
  std::pair<Lease, std::uint32_t> next(const std::string& worker = "w") {
    const std::vector<schema::Assign> assigned = outbox_.take<schema::Assign>(worker);
    if (assigned.size() != 1 || !assigned[0].plan) throw std::runtime_error("not one job with a plan");
    return {assigned[0].lease, *assigned[0].plan};
  }
  bool gets_none(const std::string& worker = "w") { return outbox_.take<schema::Assign>(worker).empty(); }

  static schema::WorkerResult too_large(const Lease& lease, std::uint32_t plan, std::uint64_t cache_bytes) {
    schema::WorkerResult refusal = test::failure(lease, ErrorCode::kResourceExhausted);
    refusal.metrics.plan = plan;
    refusal.needs_cache_bytes = cache_bytes;
    return refusal;
  }
  void refuse(const Lease& lease, std::uint32_t plan, std::uint64_t cache_bytes,
              const std::string& worker = "w") {
    dispatcher_.on_result(worker, too_large(lease, plan, cache_bytes));
  }

  std::string why(const Lease& lease) {
    const std::string sql = "SELECT why FROM attempts WHERE job_id = " + std::to_string(lease.job) +
                            " AND attempt = " + std::to_string(lease.attempt);
    return test::query_text(db_, sql.c_str());
  }
  std::string failure_of(JobId id) {
    EXPECT_EQ(state(id), JobState::kFailed);
    const std::optional<Error> error = info(id).error;
    return error ? error->message : "";
  }

  static constexpr std::uint64_t kCache = 2'000'000;
};

TEST_F(Refusals, TheSameWorkerIsGivenTheSmallestPlanThatFits) {
  for (const PolicyKind kind : {PolicyKind::kDeadline, PolicyKind::kStatic, PolicyKind::kThreshold}) {
    SCOPED_TRACE(schema::to_string(kind));
    use(kind);
    connect("w", kCache);
    const JobId id = submit();
    const auto [first, plan_0] = next();
    EXPECT_EQ(plan_0, 0U);
    refuse(first, 0, bytes_of(900, 0));  // 2.7 MB on plan 1, 1.8 on plan 2
    const auto [second, plan] = next();
    EXPECT_EQ(second, (Lease{id, 2}));
    EXPECT_EQ(plan, 2U);
    EXPECT_EQ(why(second), "on a smaller plan it does not fit the worker's cache");
    EXPECT_EQ(test::query_text(db_, "SELECT max(failed_attempts) FROM jobs"), "0");
    dispatcher_.on_result("w", test::success(second));
    EXPECT_EQ(state(id), JobState::kSucceeded);
  }
}

TEST_F(Refusals, QuestionsThatShareADocumentHoldStatesTwice) {
  connect("w", kCache);
  submit(test::qa({"Who?", "When?"}));
  refuse(next().first, 0, bytes_of(990, 0));  // 1.98 MB on plan 2, and twice 20 kB
  const auto [second, plan] = next();
  EXPECT_EQ(plan, 3U);
}

TEST_F(Refusals, AFurtherOneIsFollowedByAFurtherPlan) {
  connect("w", kCache);
  const JobId id = submit();
  refuse(next().first, 0, bytes_of(900, 0));
  refuse(next().first, 2, bytes_of(1'200, 2));  // denser than it was said to be
  const auto [third, plan] = next();
  EXPECT_EQ(plan, 3U);
  refuse(third, 3, bytes_of(3'000, 3));
  EXPECT_THAT(
      failure_of(id),
      HasSubstr("it went wrong; no worker that is connected has room for it on any plan: it takes 2.9 "
                "MiB of the 1.9 MiB that w has, on plan 3"));
}

TEST_F(Refusals, WhatForbidsThePlanThatFitsIsNamed) {
  connect("w", kCache);
  schema::JobRequest job = test::summarize();
  job.terms.max_plan = 0;
  const JobId exact = submit(job);
  refuse(next().first, 0, bytes_of(900, 0));
  EXPECT_THAT(failure_of(exact),
              HasSubstr("; plan 2 of 98% of plan 0's quality has room for it, but is above "
                        "plan 0 of its own terms"));
  job.terms.max_plan.reset();
  job.terms.min_quality = 0.99;
  const JobId careful = submit(job);
  refuse(next().first, 0, bytes_of(900, 0));
  EXPECT_THAT(failure_of(careful), HasSubstr("has room for it, but is below the 99% of its own terms"));
  use(PolicyKind::kDeadline, 0.985);
  const JobId any = submit();
  refuse(next().first, 0, bytes_of(900, 0));
  EXPECT_THAT(failure_of(any), HasSubstr("has room for it, but is below the floor of 98.5%"));
}

TEST_F(Refusals, UnderManualAPersonsPlanCounts) {
  use(PolicyKind::kManual);
  connect("w", kCache);
  const JobId id = submit();
  const std::vector<Lease> leases = assigned("w");
  ASSERT_EQ(leases.size(), 1U);
  refuse(leases[0], 0, bytes_of(900, 0));
  EXPECT_THAT(failure_of(id),
              HasSubstr("plans are set by hand, and plan 2 has room for it (dslactl plan set 2)"));
  EXPECT_TRUE(gets_none());
}

// Where its terms allow no plan of the small one, it waits for the large one while that is busy.
TEST_F(Refusals, AWorkerWithoutRoomOnAnAllowedPlanIsNotAskedAgain) {
  connect("w", kCache);
  connect("large", 8'000'000);
  submit();
  submit();
  const Lease on_large = next("large").first;
  dispatcher_.on_result("w", test::success(next("w").first));
  schema::JobRequest job = test::summarize();
  job.terms.max_plan = 1;
  const JobId id = submit(job);
  refuse(next("w").first, 0, bytes_of(900, 0));
  EXPECT_EQ(state(id), JobState::kQueued);
  EXPECT_TRUE(gets_none("w"));
  const JobId other = submit();
  const auto [lease, plan] = next("w");
  EXPECT_EQ(lease.job, other) << "others pass it there";
  dispatcher_.on_result("large", test::success(on_large));
  EXPECT_EQ(next("large"), (std::pair{Lease{id, 2}, 0U}));
}

TEST_F(Refusals, WhatWasLearntOutlivesARestart) {
  connect("w", kCache);
  const JobId id = submit();
  store_.hold(test::InlineExecutor::Hold::kFinish);  // it is recorded, and nobody is told
  refuse(next().first, 0, bytes_of(900, 0));
  test::FakeOutbox outbox;
  test::InlineExecutor store{db_};
  const DispatchConfig config{
      .lease_ms = 2'000, .heartbeat_ms = 500, .plan_timeout_ms = 5'000, .policy = {}, .retry = {}};
  Dispatcher next(config, clock_, store, outbox, feed_);
  next.on_hello("w", 1, sized("w", kCache));
  const auto assigned = outbox.take<schema::Assign>("w");
  ASSERT_EQ(assigned.size(), 1U);
  EXPECT_EQ(assigned[0].lease, (Lease{id, 2}));
  EXPECT_EQ(assigned[0].plan, 2U);
}

// Its terms are not known then: nobody may judge by them.
TEST_F(Refusals, AResultThatARestartCameBeforeIsAskedForAgain) {
  connect("w", kCache);
  const JobId id = submit();
  const Lease lease = next().first;
  test::FakeOutbox outbox;
  test::InlineExecutor store{db_};
  const DispatchConfig config{
      .lease_ms = 2'000, .heartbeat_ms = 500, .plan_timeout_ms = 5'000, .policy = {}, .retry = {}};
  Dispatcher next(config, clock_, store, outbox, feed_);
  next.expect_back(test::must(stored_leases(db_)));
  schema::Hello message = sized("w", kCache);
  message.leases = {lease};
  next.on_hello("w", 1, message);
  next.on_result("w", too_large(lease, 0, bytes_of(900, 0)));
  next.on_result("w", too_large({id, 2}, 0, bytes_of(900, 0)));
  const auto assigned = outbox.take<schema::Assign>("w");
  ASSERT_EQ(assigned.size(), 2U);
  EXPECT_EQ(assigned[0].plan, 0U);
  EXPECT_EQ(assigned[1].plan, 2U);
}

}  // namespace
}  // namespace dslad::daemon
