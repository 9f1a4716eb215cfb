// The transitions of jobs on a real database file.
#include <gmock/gmock.h>
#include <map>

#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using test::must;

class StoreJobs : public ::testing::Test {
 protected:
  JobId submit(const schema::JobRequest& job) {
    return must(test::enqueue_jobs(db_, {job}, limits_, now_ms_)).ids.at(0);
  }
  std::vector<Claimed> take(std::uint32_t count) { return must(claim(db_, claimant_, count, now_ms_)).jobs; }
  Lease take_one() { return take(1).at(0).lease; }
  schema::JobInfo info(JobId id) { return must(read_info(db_, id)); }

  test::TempDir folder_;
  Database db_ = test::open_database(folder_.path() / "dslad.db");
  QueueLimits limits_;
  Claimant claimant_{{"host:1:cpu", "instance-a"}, "tiny", "d1"};
  std::int64_t now_ms_ = 1'000'000;
};

TEST_F(StoreJobs, ClaimTakesHighestPriorityFirstThenArrival) {
  schema::JobRequest urgent = test::summarize("urgent");
  urgent.priority = 5;
  const JobId first = submit(test::summarize("first"));
  const JobId second = submit(test::summarize("second"));
  const JobId third = submit(urgent);
  std::vector<JobId> order;
  for (const Claimed& claimed : take(3)) order.push_back(claimed.lease.job);
  EXPECT_THAT(order, testing::ElementsAre(third, first, second));
}

TEST_F(StoreJobs, ClaimTakesTheEarliestDeadlineAmongEquals) {
  const JobId first = submit(test::summarize());
  schema::JobRequest job = test::summarize();
  job.terms.deadline_in_ms = 60'000;
  const JobId later = submit(job);
  job.terms.deadline_in_ms = 30'000;
  const JobId soon = submit(job);
  std::vector<JobId> order;
  for (const Claimed& claimed : take(3)) order.push_back(claimed.lease.job);
  EXPECT_THAT(order, testing::ElementsAre(soon, later, first));
  EXPECT_EQ(info(soon).deadline_ms, now_ms_ + 30'000);
}

TEST_F(StoreJobs, ClaimPrefersADocumentThatTheWorkerKnows_ByALittle) {
  const auto submit_at = [&](std::int64_t ms, const std::string& document, std::int32_t priority = 0) {
    now_ms_ = 1'000'000 + ms;
    schema::JobRequest job = test::summarize(document);
    job.priority = priority;
    return submit(job);
  };
  const JobId known = submit_at(0, "A");
  claimant_.documents = {take(1).at(0).job.document};
  ASSERT_NE(claimant_.documents[0], 0);
  const JobId other = submit_at(1'000, "B");
  const JobId again = submit_at(9'000, "A");
  const JobId late = submit_at(20'000, "A");
  const JobId urgent = submit_at(21'000, "C", 1);
  schema::JobRequest due = test::summarize("A");
  due.terms.deadline_in_ms = 60'000;
  const JobId second = submit(due);
  due.terms.deadline_in_ms = 55'000;
  due.spec.document = "D";
  const JobId first = submit(due);
  std::vector<JobId> order;
  while (true) {
    const auto one = take(1);
    if (one.empty()) break;
    order.push_back(one[0].lease.job);
  }
  EXPECT_THAT(order, testing::ElementsAre(urgent, first, second, again, other, late));
  EXPECT_LT(known, other);
}

TEST_F(StoreJobs, ClaimLetsNothingPassASuspectForADocument) {
  const JobId known = submit(test::summarize("A"));
  claimant_.documents = {take(1).at(0).job.document};
  const JobId suspect = submit(test::summarize("B"));
  must(db_.run("UPDATE jobs SET suspect = 1 WHERE id = ?", suspect));
  submit(test::summarize("A"));
  EXPECT_EQ(take_one().job, suspect) << "after " << known;
}

TEST_F(StoreJobs, ClaimTakesWhatItsModelMayAnswer) {
  schema::JobRequest job = test::summarize();
  job.terms.model = "other";
  submit(job);
  job.terms.model = "d1";
  const JobId by_digest = submit(job);
  job.terms.model = "tiny";
  const JobId by_name = submit(job);
  const JobId any = submit(test::summarize());
  std::vector<JobId> order;
  for (const Claimed& claimed : take(9)) order.push_back(claimed.lease.job);
  EXPECT_THAT(order, testing::ElementsAre(by_digest, by_name, any));
  EXPECT_TRUE(take(9).empty());
}

TEST_F(StoreJobs, JobTooLargeForOneWorkerWaitsForALargerOne) {
  claimant_.context = 512;
  const JobId id = submit(test::summarize());
  schema::WorkerResult refusal = test::failure(take_one(), ErrorCode::kInvalidArgument);
  refusal.needs_context = 900;
  EXPECT_EQ(must(finish(db_, refusal, now_ms_, {.fits_elsewhere = true})).state, JobState::kQueued);
  EXPECT_TRUE(take(1).empty());
  claimant_.context = 1'024;
  const Lease lease = take_one();
  EXPECT_EQ(lease, (Lease{id, 2}));
  // Nobody larger is there: it fails as before.
  refusal.lease = lease;
  EXPECT_EQ(must(finish(db_, refusal, now_ms_)).state, JobState::kFailed);
}

TEST_F(StoreJobs, JobThatWasRefusedForItsSizeGoesWhereAPlanThatItAllowsHasRoom) {
  const JobId id = submit(test::summarize());
  schema::WorkerResult refusal = test::failure(take_one(), ErrorCode::kResourceExhausted);
  refusal.needs_cache_bytes = 4'000;
  must(finish(db_, refusal, now_ms_, {.fits_elsewhere = true, .needs_tokens = 1'000}));
  claimant_.cache_bytes = 3'000;
  claimant_.plans = {{0, 1, 4, 0}, {2, 0.98, 2, 1'001}};
  EXPECT_TRUE(take(1).empty());
  claimant_.plans[1].state_bytes = 1'000;
  must(db_.exec("UPDATE jobs SET questions = 2"));  // two sequences at once
  EXPECT_TRUE(take(1).empty());
  must(db_.exec("UPDATE jobs SET questions = 0, max_plan = 1"));
  EXPECT_TRUE(take(1).empty());
  must(db_.exec("UPDATE jobs SET max_plan = 2, min_quality = 0.99"));
  EXPECT_TRUE(take(1).empty());
  must(db_.exec("UPDATE jobs SET min_quality = 0.98"));
  const std::vector<Claimed> claimed = take(1);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].lease, (Lease{id, 2}));
  EXPECT_EQ(claimed[0].job.needs_tokens, 1'000U);
}

TEST_F(StoreJobs, ChoiceOfThePlanIsMadeWithTheClaimAndKept) {
  schema::JobRequest job = test::qa({"Who?", "When?"});
  job.terms.min_quality = 0.95;
  job.terms.max_plan = 3;
  must(test::enqueue_jobs(db_, {job}, limits_, now_ms_, "ada"));
  const ChoosePlan choose = [](const QueuedJob& queued) {
    EXPECT_EQ(queued.client, "ada");
    EXPECT_EQ(queued.min_quality, 0.95);
    EXPECT_EQ(queued.max_plan, 3U);
    EXPECT_EQ(queued.questions, 2U);
    return PlanChoice{2, "the queue is long"};
  };
  const std::vector<Claimed> claimed = must(claim(db_, claimant_, 1, now_ms_, choose)).jobs;
  EXPECT_EQ(claimed.at(0).choice.plan, 2U);
  EXPECT_EQ(claimed.at(0).job.bytes, bytes_of(job.spec));
  EXPECT_EQ(must(read_result(db_, claimed[0].lease.job)).metrics.why, "the queue is long");
}

TEST_F(StoreJobs, ClaimPassesOverWhatIsLeftToOthers) {
  const JobId first = submit(test::summarize("first"));
  const JobId second = submit(test::summarize("second"));
  const JobId third = submit(test::summarize("third"));
  std::map<JobId, Taking> takings = {{first, Taking::kNo}, {second, Taking::kLast}};
  const ChoosePlan choose = [&](const QueuedJob& job) {
    return PlanChoice{.plan = 0, .why = {}, .taking = takings[job.id]};
  };
  Claim claimed = must(claim(db_, claimant_, 1, now_ms_, choose));
  EXPECT_EQ(claimed.jobs.at(0).lease.job, third);
  EXPECT_TRUE(claimed.left_some);
  EXPECT_FALSE(claimed.queue_empty);
  claimed = must(claim(db_, claimant_, 1, now_ms_, choose));
  EXPECT_EQ(claimed.jobs.at(0).lease.job, second) << "nothing else is there";
  claimed = must(claim(db_, claimant_, 1, now_ms_, choose));
  EXPECT_TRUE(claimed.jobs.empty());
  EXPECT_TRUE(claimed.left_some);
  EXPECT_TRUE(claimed.queue_empty) << "for this worker";
  takings.clear();
  EXPECT_EQ(must(claim(db_, claimant_, 1, now_ms_, choose)).jobs.at(0).lease.job, first);
}

TEST_F(StoreJobs, ClaimReadsNoMoreThanTheHeadHoweverMuchIsLeftToOthers) {
  const std::vector<schema::JobRequest> jobs(5'000, test::summarize());
  must(db_.exec("BEGIN"));  // or each is written through by itself
  must(test::enqueue_jobs(db_, jobs, limits_, now_ms_));
  must(db_.exec("COMMIT"));
  int looked_at = 0;
  const ChoosePlan leave = [&](const QueuedJob&) {
    ++looked_at;
    return PlanChoice{.plan = 0, .why = {}, .taking = Taking::kNo};
  };
  EXPECT_TRUE(must(claim(db_, claimant_, 1, now_ms_, leave)).jobs.empty());
  EXPECT_LE(looked_at, 3'000);
  looked_at = 0;
  const ChoosePlan take = [&](const QueuedJob&) {
    ++looked_at;
    return PlanChoice{};
  };
  EXPECT_EQ(must(claim(db_, claimant_, 1, now_ms_, take)).jobs.size(), 1U);
  EXPECT_EQ(looked_at, 1);
}

TEST_F(StoreJobs, ClaimCarriesTheWholeRequest) {
  schema::JobRequest job = test::qa({"Who?", "When?"});
  job.spec.options = {17, 0.5, 0.25, ~std::uint64_t{0}};
  submit(job);
  const Claimed claimed = take(1).at(0);
  EXPECT_EQ(claimed.lease.attempt, 1U);
  EXPECT_EQ(claimed.spec.document, job.spec.document);
  EXPECT_EQ(claimed.spec.questions, job.spec.questions);
  EXPECT_EQ(claimed.spec.options.max_tokens, 17U);
  EXPECT_EQ(claimed.spec.options.top_p, 0.25);
  EXPECT_EQ(claimed.spec.options.seed, ~std::uint64_t{0});
}

TEST_F(StoreJobs, IdempotencyKeyReturnsTheFirstJob) {
  schema::JobRequest job = test::summarize();
  job.idempotency_key = "once";
  const schema::Submitted first = must(test::enqueue_jobs(db_, {job, job}, limits_, now_ms_));
  const schema::Submitted again = must(test::enqueue_jobs(db_, {test::summarize(), job}, limits_, now_ms_));
  EXPECT_EQ(first.ids[0], first.ids[1]);
  EXPECT_THAT(first.duplicates, testing::ElementsAre(false, true));
  EXPECT_EQ(again.ids[1], first.ids[0]);
  EXPECT_THAT(again.duplicates, testing::ElementsAre(false, true));
  EXPECT_EQ(must(count_jobs(db_))["queued"], 2U);
}

TEST_F(StoreJobs, FullQueueRefusesTheWholeBatch) {
  limits_.max_queued = 2;
  submit(test::summarize());
  const Result<schema::Submitted> reply =
      test::enqueue_jobs(db_, {test::summarize(), test::summarize()}, limits_, now_ms_);
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(must(count_jobs(db_))["queued"], 1U);
}

TEST_F(StoreJobs, FullQueueStillKnowsWhatItHolds) {
  limits_.max_queued = 2;
  schema::JobRequest one = test::summarize(), other = test::summarize();
  one.idempotency_key = "one";
  other.idempotency_key = "other";
  const schema::Submitted first = must(test::enqueue_jobs(db_, {one, other}, limits_, now_ms_));
  const schema::Submitted again = must(test::enqueue_jobs(db_, {one, other}, limits_, now_ms_));
  EXPECT_EQ(again.ids, first.ids);
  EXPECT_THAT(again.duplicates, testing::ElementsAre(true, true));
  EXPECT_FALSE(test::enqueue_jobs(db_, {one, test::summarize()}, limits_, now_ms_).ok());
  EXPECT_EQ(must(count_jobs(db_))["queued"], 2U);
}

TEST_F(StoreJobs, SuccessIsReadBackWithOutputsAndMetrics) {
  const JobId id = submit(test::qa({"Who?"}));
  now_ms_ += 250;
  const Lease lease = take_one();
  now_ms_ += 100;
  const Outcome outcome = must(finish(db_, test::success(lease, "Ada"), now_ms_));
  EXPECT_TRUE(outcome.accepted);
  const schema::JobResult result = must(read_result(db_, id));
  EXPECT_EQ(result.job.state, JobState::kSucceeded);
  EXPECT_EQ(result.job.ended_ms, now_ms_);
  EXPECT_EQ(result.outputs.at(0).question, "Who?");
  EXPECT_EQ(result.outputs.at(0).text, "Ada");
  EXPECT_EQ(result.metrics.queue_ms, 250);
  EXPECT_EQ(result.metrics.prefill_ms, 10.5);
  EXPECT_EQ(result.metrics.plan, 2U);
  EXPECT_EQ(result.metrics.worker, "host:1:cpu");
  EXPECT_EQ(result.metrics.model, "tiny");
  EXPECT_EQ(result.metrics.model_digest, "d1");
  EXPECT_EQ(result.metrics.edition, "e1");
  EXPECT_EQ(result.metrics.quality, 0.98);
  EXPECT_EQ(test::query_text(db_, "SELECT model || model_digest || edition || quality FROM job_metrics"),
            "tinyd1e10.98");
}

TEST_F(StoreJobs, LateResultOfAnOlderAttemptIsDropped) {
  const JobId id = submit(test::summarize());
  const Lease old = take_one();
  must(release(db_, old, LeaseEnd::kLost, "lost", now_ms_));
  const Lease current = take_one();
  EXPECT_EQ(current.attempt, 2U);
  EXPECT_FALSE(must(finish(db_, test::success(old, "late"), now_ms_)).accepted);
  EXPECT_EQ(info(id).state, JobState::kRunning);
  EXPECT_TRUE(must(finish(db_, test::success(current, "right"), now_ms_)).accepted);
  EXPECT_FALSE(must(finish(db_, test::success(current, "again"), now_ms_)).accepted);
  EXPECT_EQ(must(read_result(db_, id)).outputs.at(0).text, "right");
}

TEST_F(StoreJobs, LostLeasesUseUpTheAttempts) {
  schema::JobRequest job = test::summarize();
  job.max_attempts = 2;
  const JobId id = submit(job);
  EXPECT_EQ(must(release(db_, take_one(), LeaseEnd::kLost, "gone", now_ms_)).state, JobState::kQueued);
  EXPECT_EQ(must(release(db_, take_one(), LeaseEnd::kLost, "gone", now_ms_)).state, JobState::kFailed);
  EXPECT_EQ(info(id).error->message, "gone");
  EXPECT_TRUE(take(1).empty());
}

TEST_F(StoreJobs, LeasesGivenBackDoNotCountAsAttempts) {
  schema::JobRequest job = test::summarize();
  job.max_attempts = 1;
  submit(job);
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(must(release(db_, take_one(), LeaseEnd::kGivenBack, "drain", now_ms_)).state,
              JobState::kQueued);
  }
}

TEST_F(StoreJobs, LastingErrorsFailAtOnceAndOthersAreRetried) {
  const JobId bad = submit(test::summarize());
  EXPECT_EQ(must(finish(db_, test::failure(take_one(), ErrorCode::kInvalidArgument), now_ms_)).state,
            JobState::kFailed);
  EXPECT_EQ(info(bad).error->code, ErrorCode::kInvalidArgument);
  const JobId unlucky = submit(test::summarize());
  EXPECT_EQ(must(finish(db_, test::failure(take_one(), ErrorCode::kInternal), now_ms_)).state,
            JobState::kQueued);
  must(finish(db_, test::success(take_one()), now_ms_));
  EXPECT_EQ(info(unlucky).state, JobState::kSucceeded);
  EXPECT_FALSE(info(unlucky).error.has_value());
}

TEST_F(StoreJobs, JobWhosePlanFailedRunsOnPlanZeroWithoutAFailedAttempt) {
  schema::JobRequest job = test::summarize();
  job.max_attempts = 2;
  job.terms.max_plan = 3;
  const JobId id = submit(job);
  schema::WorkerResult failed = test::failure(take_one(), ErrorCode::kCorrupt);
  failed.metrics.plan = 3;
  const Outcome outcome = must(finish(db_, failed, now_ms_));
  EXPECT_TRUE(outcome.accepted);
  EXPECT_EQ(outcome.state, JobState::kQueued);
  EXPECT_EQ(info(id).error->message, "it went wrong");
  EXPECT_EQ(test::query_text(db_, "SELECT outcome || error_code FROM job_attempts"), "failedcorrupt");
  const std::vector<Claimed> again = take(1);
  EXPECT_EQ(again.at(0).job.max_plan, 0U);

  // Only once: a plan that fails nevertheless counts, as plan 0 does.
  failed.lease = again[0].lease;
  EXPECT_EQ(must(finish(db_, failed, now_ms_)).state, JobState::kQueued);
  failed.lease = take_one();
  failed.metrics.plan = 0;
  EXPECT_EQ(must(finish(db_, failed, now_ms_)).state, JobState::kFailed);
  EXPECT_EQ(test::query_text(db_, "SELECT failed_attempts FROM jobs"), "2");
}

TEST_F(StoreJobs, OtherErrorsOfAPlanAndDamagedWeightsCountAsEver) {
  schema::JobRequest job = test::summarize();
  job.max_attempts = 1;
  submit(job);
  schema::WorkerResult failed = test::failure(take_one(), ErrorCode::kInternal);
  failed.metrics.plan = 3;
  EXPECT_EQ(must(finish(db_, failed, now_ms_)).state, JobState::kFailed);
  submit(job);
  EXPECT_EQ(must(finish(db_, test::failure(take_one(), ErrorCode::kCorrupt), now_ms_)).state,
            JobState::kFailed)
      << "on plan 0";
}

TEST_F(StoreJobs, AnotherNumberOfAnswersThanQuestionsIsAFailedAttempt) {
  const JobId id = submit(test::qa({"Who?", "When?"}));
  const Outcome outcome = must(finish(db_, test::success(take_one()), now_ms_));
  EXPECT_EQ(outcome.state, JobState::kQueued);
  EXPECT_THAT(info(id).error->message, testing::HasSubstr("1 answers where 2"));
  EXPECT_TRUE(must(read_result(db_, id)).outputs.empty());
}

TEST_F(StoreJobs, CancelEndsQueuedAndRunningButNotEndedJobs) {
  const JobId ended = submit(test::summarize());
  must(finish(db_, test::success(take_one()), now_ms_));
  const JobId running = submit(test::summarize());
  const Lease lease = take_one();
  const JobId queued = submit(test::summarize());
  const CancelOutcome outcome = must(cancel(db_, {ended, running, queued, 99}, now_ms_));
  ASSERT_EQ(outcome.cancelled.size(), 2U);
  EXPECT_EQ(outcome.cancelled[0].lease, lease);
  EXPECT_FALSE(outcome.cancelled[1].lease.has_value());
  EXPECT_THAT(outcome.not_found, testing::ElementsAre(99));
  EXPECT_EQ(info(ended).state, JobState::kSucceeded);
  EXPECT_EQ(info(running).state, JobState::kCancelled);
  EXPECT_EQ(info(queued).state, JobState::kCancelled);
  EXPECT_FALSE(must(finish(db_, test::success(lease), now_ms_)).accepted);
}

TEST_F(StoreJobs, JobsPastTheirDeadlineExpire) {
  schema::JobRequest job = test::summarize();
  job.expires_in_ms = 500;
  const JobId running = submit(job);
  const Lease lease = take_one();
  const JobId queued = submit(job);
  EXPECT_TRUE(must(expire(db_, now_ms_ + 499)).empty());
  now_ms_ += 500;
  EXPECT_TRUE(take(1).empty());
  const std::vector<Ended> expired = must(expire(db_, now_ms_));
  EXPECT_EQ(expired.size(), 2U);
  EXPECT_EQ(info(running).state, JobState::kExpired);
  EXPECT_EQ(info(queued).state, JobState::kExpired);
  EXPECT_FALSE(must(finish(db_, test::success(lease), now_ms_)).accepted);
}

TEST_F(StoreJobs, ListIsPagedNewestFirstAndFiltersByState) {
  std::vector<JobId> ids;
  ids.reserve(5);
  for (int i = 0; i < 5; ++i) ids.push_back(submit(test::summarize()));
  take(2);
  schema::ListJobs request;
  request.limit = 3;
  const schema::JobList page = must(list_jobs(db_, request));
  ASSERT_EQ(page.jobs.size(), 3U);
  EXPECT_TRUE(page.more);
  EXPECT_EQ(page.jobs[0].id, ids[4]);
  request.before_id = page.jobs.back().id;
  EXPECT_FALSE(must(list_jobs(db_, request)).more);
  request = {};
  request.state = JobState::kRunning;
  EXPECT_EQ(must(list_jobs(db_, request)).jobs.size(), 2U);
}

TEST_F(StoreJobs, CountsFollowEveryTransition) {
  submit(test::summarize());
  submit(test::summarize());
  submit(test::summarize());
  must(finish(db_, test::success(take_one()), now_ms_));
  take(1);
  auto counts = must(count_jobs(db_));
  EXPECT_EQ(counts["queued"], 1U);
  EXPECT_EQ(counts["running"], 1U);
  EXPECT_EQ(counts["succeeded"], 1U);
  EXPECT_EQ(counts["failed"], 0U);
}

TEST_F(StoreJobs, UnknownJobIsNotFound) {
  EXPECT_EQ(read_info(db_, 7).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_result(db_, 7).error().code, ErrorCode::kNotFound);
}

TEST_F(StoreJobs, HeldLeasesSurviveReopening) {
  submit(test::summarize());
  const Lease lease = take_one();
  Database again = test::open_database(folder_.path() / "dslad.db");
  const std::vector<StoredLease> held = must(stored_leases(again));
  ASSERT_EQ(held.size(), 1U);
  EXPECT_EQ(held[0].lease, lease);
  EXPECT_EQ(held[0].worker.instance, "instance-a");
}

}  // namespace
}  // namespace dslad::daemon
