// What the store owes a queue that nothing stops: unreadable rows, suspects, times, keys, pages, and what is
// forgotten.
#include <gmock/gmock.h>

#include "daemon/store/job_reads.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/leases.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobRequest;
using schema::JobState;
using schema::Lease;
using test::must;

class StoreRobust : public ::testing::Test {
 protected:
  JobId submit(const JobRequest& job) {
    return must(test::enqueue_jobs(db_, {job}, limits_, now_ms_, "ada")).ids.at(0);
  }
  Result<Enqueued> submit_again(const JobRequest& job, bool retry_failed) {
    return enqueue(db_, schema::Submit{{job}, "ada", retry_failed}, limits_, Intake{now_ms_});
  }
  Claim take(std::uint32_t count) { return must(claim(db_, claimant_, count, now_ms_)); }
  schema::JobInfo info(JobId id) { return must(read_info(db_, id)); }

  test::TempDir folder_;
  Database db_ = test::open_database(folder_.path() / "dslad.db");
  QueueLimits limits_;
  Claimant claimant_{{"host:1:cpu", "instance-a"}, "tiny", "d1"};
  std::int64_t now_ms_ = 1'000'000;
};

TEST_F(StoreRobust, JobWhoseTextsAreLostFailsAloneAndOthersGoOn) {
  const JobId broken = submit(test::summarize());
  const JobId sound = submit(test::summarize());
  must(db_.run("DELETE FROM job_inputs WHERE job_id = ?", broken));
  const Claim claim = take(2);
  ASSERT_EQ(claim.jobs.size(), 1U);
  EXPECT_EQ(claim.jobs[0].lease.job, sound);
  ASSERT_EQ(claim.unreadable.size(), 1U);
  EXPECT_EQ(info(broken).state, JobState::kFailed);
  EXPECT_EQ(info(broken).error->code, ErrorCode::kCorrupt);
  EXPECT_EQ(test::query_text(db_, "SELECT jobs FROM job_counts WHERE state = 'failed'"), "1");
}

TEST_F(StoreRobust, ClaimHoldsNoMoreTextThanItMay) {
  const std::string large(std::size_t{7} << 20, 'x');
  for (int i = 0; i < 8; ++i) submit(test::summarize(large));
  const Claim first = take(8);
  EXPECT_EQ(first.jobs.size(), 4U);  // 32 MiB
  EXPECT_FALSE(first.queue_empty);
  EXPECT_EQ(take(8).jobs.size(), 4U);
  EXPECT_TRUE(take(8).queue_empty);
}

TEST_F(StoreRobust, SuspectLosesNoAttemptAndRunsAlone) {
  const JobId id = submit(test::summarize());
  const JobId next = submit(test::summarize());
  const Lease lease = take(1).jobs.at(0).lease;
  const Outcome outcome = must(release(db_, lease, LeaseEnd::kSuspected, "the worker died", now_ms_));
  EXPECT_EQ(outcome.state, JobState::kQueued);
  EXPECT_TRUE(info(id).alone);
  claimant_.empty = false;
  const Claim busy = take(2);
  EXPECT_TRUE(busy.jobs.empty()) << "nothing passes a suspect, or it would wait for ever";
  EXPECT_TRUE(busy.suspect_waits);
  claimant_.empty = true;
  const Claim alone = take(2);
  ASSERT_EQ(alone.jobs.size(), 1U);
  EXPECT_TRUE(alone.jobs[0].job.suspect);
  must(release(db_, alone.jobs[0].lease, LeaseEnd::kLost, "the worker died", now_ms_));
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(failed_attempts) FROM jobs"), "1,0");
  EXPECT_TRUE(info(id).alone) << "a suspect that broke a worker alone remains one";
  EXPECT_EQ(take(1).jobs.at(0).lease.job, id);
  EXPECT_EQ(info(next).state, JobState::kQueued);
}

TEST_F(StoreRobust, FailedAttemptsWaitLongerEachTimeAndNotTogether) {
  const RetryRules rules{1'000, 8'000};
  for (int failed = 1; failed <= 6; ++failed) {
    const std::int64_t whole = std::min<std::int64_t>(1'000LL << (failed - 1), 8'000);
    const std::int64_t delay = retry_delay_ms(rules, {7, static_cast<std::uint32_t>(failed)}, failed);
    EXPECT_GE(delay, whole / 2);
    EXPECT_LE(delay, whole);
  }
  EXPECT_NE(retry_delay_ms(rules, {7, 1}, 1), retry_delay_ms(rules, {8, 1}, 1));
  EXPECT_EQ(retry_delay_ms({}, {7, 1}, 1), 0);
  EXPECT_LE(retry_delay_ms({1'000, 300'000}, {7, 999}, 999), 300'000);

  const JobId id = submit(test::summarize());
  must(
      finish(db_, test::failure(take(1).jobs.at(0).lease, ErrorCode::kInternal), now_ms_, {false, 0, rules}));
  EXPECT_GE(info(id).starts_ms, now_ms_ + 500);
  EXPECT_TRUE(take(1).jobs.empty());
  EXPECT_FALSE(must(wake(db_, now_ms_ + 499)));
  EXPECT_TRUE(must(wake(db_, now_ms_ + 1'000)));
  EXPECT_EQ(take(1).jobs.size(), 1U);
}

TEST_F(StoreRobust, JobBeginsNoEarlierThanAskedAndMovesWithTheClock) {
  JobRequest job = test::summarize();
  job.start_in_ms = 60'000;
  const JobId id = submit(job);
  EXPECT_EQ(info(id).starts_ms, now_ms_ + 60'000);
  EXPECT_TRUE(take(1).jobs.empty());
  must(shift_open_jobs(db_, 3'600'000));
  EXPECT_FALSE(must(wake(db_, now_ms_ + 3'600'000)));
  EXPECT_TRUE(must(wake(db_, now_ms_ + 3'660'000)));
  EXPECT_EQ(info(id).starts_ms, 0);
  EXPECT_EQ(take(1).jobs.size(), 1U);
}

TEST_F(StoreRobust, KeyOfAnotherContentIsRefusedAndNothingOfTheBatchIsTaken) {
  JobRequest job = test::qa({"Who?"});
  job.idempotency_key = "once";
  const JobId first = submit(job);
  const auto refused = [&](const JobRequest& other, const std::string& what) {
    const Result<schema::Submitted> reply =
        test::enqueue_jobs(db_, {test::summarize(), other}, limits_, now_ms_);
    ASSERT_FALSE(reply.ok()) << what;
    EXPECT_EQ(reply.error().code, ErrorCode::kRefused);
    EXPECT_THAT(reply.error().message,
                testing::HasSubstr("job " + std::to_string(first) + ", whose " + what));
    EXPECT_THAT(reply.error().message, testing::HasSubstr("jobs[1]"));
  };
  JobRequest other = job;
  other.spec.document = "another";
  refused(other, "document");
  other = job;
  other.spec.questions = {"When?"};
  refused(other, "questions");
  other = job;
  other.spec.options.seed = 1;
  refused(other, "options");
  other = job;
  other.terms.model = "huge";
  refused(other, "model");
  other = test::summarize(job.spec.document);
  other.idempotency_key = "once";
  refused(other, "task");
  other = job;  // how urgent it is does not make it another job
  other.priority = 9;
  other.terms.deadline_in_ms = 1'000;
  EXPECT_EQ(submit(other), first);
}

TEST_F(StoreRobust, KnownJobThatFailedRunsAgainOnlyWhereThatIsAskedFor) {
  JobRequest job = test::summarize();
  job.idempotency_key = "once";
  job.expires_in_ms = 5'000;
  const JobId id = submit(job);
  must(expire(db_, now_ms_ + 5'000));
  ASSERT_EQ(info(id).state, JobState::kExpired);
  EXPECT_TRUE(must(submit_again(job, false)).requeued.empty());
  EXPECT_EQ(info(id).state, JobState::kExpired);
  const Enqueued again = must(submit_again(job, true));
  EXPECT_THAT(again.requeued, testing::ElementsAre(id));
  EXPECT_THAT(again.reply.ids, testing::ElementsAre(id));
  EXPECT_EQ(info(id).state, JobState::kQueued);
  EXPECT_FALSE(info(id).error.has_value());
  EXPECT_TRUE(must(expire(db_, now_ms_ + 100'000)).empty()) << "its expiry was that of the first time";
  must(finish(db_, test::success(take(1).jobs.at(0).lease), now_ms_));
  EXPECT_TRUE(must(submit_again(job, true)).requeued.empty()) << "it has succeeded";
}

TEST_F(StoreRobust, RequeueGivesAllAttemptsBack) {
  const JobId id = submit(test::summarize());
  for (int i = 0; i < 3; ++i) must(release(db_, take(1).jobs.at(0).lease, LeaseEnd::kLost, "gone", now_ms_));
  ASSERT_EQ(info(id).state, JobState::kFailed);
  const JobId queued = submit(test::summarize());
  const RequeueOutcome outcome = must(requeue(db_, {id, queued, 99}, limits_, now_ms_));
  EXPECT_THAT(outcome.requeued, testing::ElementsAre(id));
  EXPECT_THAT(outcome.not_found, testing::ElementsAre(99));
  must(release(db_, take(1).jobs.at(0).lease, LeaseEnd::kLost, "gone", now_ms_));
  EXPECT_EQ(must(count_jobs(db_))["queued"], 2U);
  limits_.max_queued = 2;
  must(cancel(db_, {id}, now_ms_));
  submit(test::summarize());
  EXPECT_EQ(requeue(db_, {id}, limits_, now_ms_).error().code, ErrorCode::kResourceExhausted);
}

TEST_F(StoreRobust, FullDiskOfTextsRefusesWhatWouldBeMore) {
  limits_.max_queued_bytes = 25;
  submit(test::summarize("0123456789"));
  submit(test::summarize("0123456789"));
  const auto reply = test::enqueue_jobs(db_, {test::summarize("0123456789")}, limits_, now_ms_);
  EXPECT_EQ(reply.error().code, ErrorCode::kResourceExhausted);
  take(1);
  submit(test::summarize("0123456789"));  // what runs does not wait
}

TEST_F(StoreRobust, LabelsAndClientsAreFound) {
  JobRequest job = test::summarize();
  job.labels = {"night", "press"};
  const JobId first = submit(job);
  const JobId second = submit(job);
  submit(test::summarize());
  schema::ListJobs by_label;
  by_label.label = "press";
  by_label.limit = 1;
  const schema::JobList page = must(list_jobs(db_, by_label));
  ASSERT_EQ(page.jobs.size(), 1U);
  EXPECT_EQ(page.jobs[0].id, second);
  EXPECT_THAT(page.jobs[0].labels, testing::ElementsAre("night", "press"));
  EXPECT_TRUE(page.more);
  by_label.before_id = second;
  EXPECT_EQ(must(list_jobs(db_, by_label)).jobs.at(0).id, first);
  by_label.state = JobState::kFailed;
  EXPECT_TRUE(must(list_jobs(db_, by_label)).jobs.empty());
  schema::ListJobs by_client;
  by_client.client = "ada";
  EXPECT_EQ(must(list_jobs(db_, by_client)).jobs.size(), 3U);
  by_client.client = "bob";
  EXPECT_TRUE(must(list_jobs(db_, by_client)).jobs.empty());
}

TEST_F(StoreRobust, JobsAreListedInTheOrderOfTheirEnds) {
  JobRequest job = test::summarize();
  job.labels = {"press"};
  std::vector<JobId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(submit(job));
  submit(test::summarize());
  must(cancel(db_, {ids[2]}, now_ms_));
  must(cancel(db_, {ids[0], ids[3]}, now_ms_ + 5));
  schema::ListJobs request;
  request.label = "press";
  request.limit = 2;
  request.ended_after = schema::EndedAfter{};
  const schema::JobList page = must(list_jobs(db_, request));
  ASSERT_EQ(page.jobs.size(), 2U);
  EXPECT_TRUE(page.more);
  EXPECT_EQ(page.jobs[0].id, ids[2]);
  EXPECT_EQ(page.jobs[1].id, ids[0]);
  request.ended_after = schema::EndedAfter{page.jobs[1].ended_ms, page.jobs[1].id};
  const schema::JobList rest = must(list_jobs(db_, request));
  ASSERT_EQ(rest.jobs.size(), 1U);
  EXPECT_EQ(rest.jobs[0].id, ids[3]);
  EXPECT_FALSE(rest.more);
  request.before_id = 1;
  EXPECT_FALSE(request.validate());
}

TEST_F(StoreRobust, JobsOfALabelAreCountedByState) {
  JobRequest job = test::summarize();
  job.labels = {"press"};
  const JobId first = submit(job);
  now_ms_ += 10;
  submit(job);
  submit(test::summarize());
  must(cancel(db_, {first}, now_ms_ + 5));
  const schema::JobCounts counts = must(count_jobs(db_, schema::CountJobs{"press", ""}));
  EXPECT_EQ(counts.jobs.at("queued"), 1U);
  EXPECT_EQ(counts.jobs.at("cancelled"), 1U);
  EXPECT_EQ(counts.jobs.at("failed"), 0U);
  EXPECT_EQ(counts.created_ms, now_ms_ - 10);
  EXPECT_EQ(counts.ended_ms, now_ms_ + 5);
  EXPECT_EQ(must(count_jobs(db_, schema::CountJobs{"", "ada"})).jobs.at("queued"), 2U);
  EXPECT_EQ(must(count_jobs(db_, schema::CountJobs{"press", "bob"})).created_ms, 0);
  EXPECT_FALSE(schema::CountJobs{}.validate());
}

TEST_F(StoreRobust, LongResultsComeInPages) {
  std::vector<std::string> questions;
  for (int i = 0; i < 7; ++i) questions.push_back("question " + std::to_string(i));
  const JobId id = submit(test::qa(questions));
  schema::WorkerResult result = test::success(take(1).jobs.at(0).lease);
  result.outputs.assign(7, {std::nullopt, std::string(100, 'a'), schema::FinishReason::kStop, 3});
  must(finish(db_, result, now_ms_));
  EXPECT_EQ(must(read_result(db_, id)).next, 0U);
  std::vector<std::string> seen;
  std::uint32_t from = 0;
  do {
    const schema::JobResult page = must(read_result(db_, id, from, 250));
    EXPECT_LE(page.outputs.size(), 2U);
    EXPECT_EQ(page.metrics.prompt_tokens, 100U);
    for (const schema::Output& output : page.outputs) seen.push_back(*output.question);
    from = page.next;
  } while (from != 0);
  EXPECT_EQ(seen, questions);
  EXPECT_EQ(must(read_result(db_, id, 0, 1)).outputs.size(), 1U) << "one comes however long it is";
}

TEST_F(StoreRobust, OldJobsAreForgottenWithAllThatIsKnownOfThem) {
  JobRequest job = test::qa({"Who?"});
  job.labels = {"old"};
  const JobId old = submit(job);
  must(finish(db_, test::success(take(1).jobs.at(0).lease), now_ms_));
  now_ms_ += 10'000;
  const JobId young = submit(test::summarize());
  must(cancel(db_, {young}, now_ms_));
  const JobId queued = submit(test::summarize());
  schema::Purge which;
  which.ended_before_ms = 10'000;
  EXPECT_EQ(must(forget(db_, which, 10, now_ms_)), 1U);
  EXPECT_EQ(read_info(db_, old).error().code, ErrorCode::kNotFound);
  for (const char* table :
       {"job_inputs WHERE job_id = 1", "job_questions WHERE job_id = 1", "job_outputs WHERE job_id = 1",
        "attempts WHERE job_id = 1", "job_labels WHERE job_id = 1"}) {
    const std::string sql = std::string("SELECT count(*) FROM ") + table;
    EXPECT_EQ(test::query_text(db_, sql.c_str()), "0") << table;
  }
  which.ended_before_ms = 0;
  which.state = JobState::kSucceeded;
  EXPECT_EQ(must(forget(db_, which, 10, now_ms_)), 0U);
  EXPECT_EQ(must(forget(db_, {}, 10, now_ms_)), 1U);
  EXPECT_EQ(info(queued).state, JobState::kQueued);
}

TEST_F(StoreRobust, FileShrinksWhenJobsAreForgotten) {
  const std::string large(std::size_t{1} << 20, 'x');
  for (int i = 0; i < 8; ++i) submit(test::summarize(large));
  while (true) {
    const Claim claim = take(8);
    if (claim.jobs.empty()) break;
    for (const Claimed& one : claim.jobs) must(finish(db_, test::success(one.lease), now_ms_));
  }
  must(db_.checkpoint());
  const auto before = std::filesystem::file_size(folder_.path() / "dslad.db");
  EXPECT_GT(must(bytes_used(db_)), 8 << 20);
  EXPECT_EQ(must(forget(db_, {}, 100, now_ms_)), 8U);
  must(give_back_pages(db_));
  must(db_.checkpoint());
  EXPECT_LT(std::filesystem::file_size(folder_.path() / "dslad.db"), before / 4);
}

}  // namespace
}  // namespace dslad::daemon
