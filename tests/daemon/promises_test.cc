// What is predicted of jobs and promised at their submit.
#include "tests/daemon/policing_fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::Lease;
using test::Policing;

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

}  // namespace
}  // namespace dslad::daemon
