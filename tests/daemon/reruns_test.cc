// Jobs that are run again on plan 0, on a real database file.
#include "daemon/store/reruns.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "daemon/store/agreement.h"
#include "daemon/store/job_reads.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using schema::Lease;
using test::must;

TEST(Agreement, IsTheSharedShareOfWords) {
  EXPECT_EQ(agreement("The red box.", "the RED box"), 1.0);
  EXPECT_EQ(agreement("red", "blue"), 0.0);
  EXPECT_EQ(agreement("", " ... "), 1.0);
  EXPECT_EQ(agreement("", "red"), 0.0);
  EXPECT_DOUBLE_EQ(agreement("a b c d", "a b"), 2.0 * 2 / 6);
  EXPECT_DOUBLE_EQ(agreement("a a a", "a"), 2.0 * 1 / 4) << "a word counts as often as both have it";
  EXPECT_EQ(agreement("blåbær", "blåbær!"), 1.0);
}

class Reruns : public ::testing::Test {
 protected:
  static schema::JobRequest question(bool upgrade) {
    schema::JobRequest job = test::qa({"Where?", "Who?"});
    job.spec.document = "Ada has the red box.";
    job.terms.upgrade = upgrade;
    return job;
  }

  // A job that has been answered; by default on plan 2.
  JobId answered(const schema::JobRequest& job, std::uint32_t plan = 2, double canary_share = 0) {
    const JobId id = must(test::enqueue_jobs(db_, {job}, {}, now_ms_)).ids.at(0);
    const std::vector<Claimed> claimed = must(claim(db_, claimant_, 1, now_ms_)).jobs;
    EXPECT_EQ(claimed.at(0).lease.job, id);
    EXPECT_TRUE(must(finish(db_, result(claimed[0].lease, "red box", plan), now_ms_, {false, canary_share}))
                    .accepted);
    return id;
  }

  static schema::WorkerResult result(const Lease& lease, const std::string& text, std::uint32_t plan) {
    schema::WorkerResult result = test::success(lease, text);
    result.outputs.push_back(result.outputs[0]);
    result.metrics.plan = plan;
    return result;
  }

  std::optional<Claimed> take() { return must(claim_rerun(db_, claimant_, now_ms_)); }

  test::TempDir folder_;
  Database db_ = test::open_database(folder_.path() / "dslad.db");
  Claimant claimant_{{"host:1:cpu", "instance-a"}, "tiny", "d1", 8'192, 0};
  std::int64_t now_ms_ = 1'000'000;
};

TEST_F(Reruns, AJobThatAskedForItIsRunAgainOnPlan0AndItsResultHasBoth) {
  const JobId id = answered(question(true));
  const std::optional<Claimed> rerun = take();
  ASSERT_TRUE(rerun.has_value());
  EXPECT_NE(rerun->lease.job, id);
  EXPECT_TRUE(rerun->job.rerun);
  EXPECT_EQ(rerun->choice.plan, 0U);
  EXPECT_EQ(rerun->spec.document, "Ada has the red box.");
  EXPECT_THAT(rerun->spec.questions, testing::ElementsAre("Where?", "Who?"));
  EXPECT_FALSE(must(read_result(db_, id)).rerun.has_value()) << "not yet";

  now_ms_ += 500;
  const Outcome outcome = must(finish(db_, result(rerun->lease, "the red box", 0), now_ms_));
  EXPECT_TRUE(outcome.accepted && outcome.rerun);
  const schema::JobResult both = must(read_result(db_, id));
  EXPECT_EQ(both.job.state, JobState::kSucceeded);
  EXPECT_EQ(both.metrics.plan, 2U);
  EXPECT_EQ(both.outputs.at(0).text, "red box");
  ASSERT_TRUE(both.rerun.has_value());
  EXPECT_EQ(both.rerun->metrics.plan, 0U);
  EXPECT_EQ(both.rerun->outputs.at(1).text, "the red box");
  EXPECT_EQ(both.rerun->outputs.at(1).question, "Who?");
  EXPECT_DOUBLE_EQ(both.rerun->agreement.value(), 0.8);
  EXPECT_FALSE(take().has_value()) << "once is enough";
}

TEST_F(Reruns, AreWantedOnlyOfJobsThatPlan0DidNotAnswer) {
  answered(question(true), 0);
  answered(question(false));
  EXPECT_FALSE(take().has_value());
}

TEST_F(Reruns, CanariesAreAShareOfTheJobsAndTheSameOnesEachTime) {
  for (int i = 0; i < 200; ++i) answered(question(false), 2, 0.25);
  const std::string wanted =
      test::query_text(db_, "SELECT group_concat(id) FROM jobs WHERE rerun_wanted = 'canary'");
  const int count =
      std::stoi(test::query_text(db_, "SELECT count(*) FROM jobs WHERE rerun_wanted = 'canary'"));
  EXPECT_NEAR(count, 50, 25);
  must(db_.run("UPDATE jobs SET rerun_wanted = NULL"));
  for (JobId id = 1; id <= 200; ++id) must(want_rerun(db_, id, 0.25));
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(id) FROM jobs WHERE rerun_wanted = 'canary'"), wanted);
}

TEST_F(Reruns, AnswersThatWereDrawnAtRandomAreNoCanaries) {
  schema::JobRequest job = question(false);
  job.spec.options.temperature = 0.7;
  answered(job, 2, 1.0);
  EXPECT_FALSE(take().has_value());
  job.terms.upgrade = true;
  const JobId id = answered(job, 2, 1.0);
  must(finish(db_, result(take()->lease, "another", 0), now_ms_));
  EXPECT_EQ(must(read_result(db_, id)).rerun->agreement, std::nullopt);
  EXPECT_TRUE(must(plan_agreements(db_, 20)).empty());
}

TEST_F(Reruns, UpgradesGoFirstAndOnlyTheModelThatAnsweredTakesThem) {
  const JobId canary = answered(question(false), 2, 1.0);
  const JobId upgrade = answered(question(true));
  Claimant other = claimant_;
  other.model_digest = "d2";
  EXPECT_FALSE(must(claim_rerun(db_, other, now_ms_)).has_value());
  const JobId first = take()->lease.job, second = take()->lease.job;
  EXPECT_EQ(test::query_text(db_, "SELECT group_concat(id || purpose) FROM job_reruns ORDER BY rerun_id"),
            fmt::format("{}upgrade,{}canary", upgrade, canary));
  EXPECT_LT(first, second);
}

TEST_F(Reruns, GivenBackOnesAreTakenAgainAndFailedOnesAreNot) {
  answered(question(true));
  const Lease first = take()->lease;
  EXPECT_TRUE(must(release(db_, first, LeaseEnd::kGivenBack, "jobs have come", now_ms_)).rerun);
  EXPECT_TRUE(must(claim(db_, claimant_, 9, now_ms_)).jobs.empty()) << "it is no user's job";
  const Lease second = take()->lease;
  EXPECT_EQ(second.job, first.job);
  EXPECT_EQ(must(finish(db_, test::failure(second, ErrorCode::kResourceExhausted), now_ms_)).state,
            JobState::kFailed);
  EXPECT_FALSE(take().has_value());
}

TEST_F(Reruns, NobodySeesThemAmongTheJobs) {
  const JobId id = answered(question(true));
  const JobId rerun = take()->lease.job;
  EXPECT_EQ(must(list_jobs(db_, {})).jobs.size(), 1U);
  EXPECT_EQ(must(count_jobs(db_))["running"], 0U);
  EXPECT_EQ(must(count_jobs(db_))["succeeded"], 1U);
  EXPECT_EQ(read_info(db_, rerun).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(must(cancel(db_, {rerun}, now_ms_)).not_found, testing::ElementsAre(rerun));
  for (const char* view : {"job_status", "job_metrics", "job_attempts"}) {
    EXPECT_EQ(test::query_text(db_, fmt::format("SELECT group_concat(id) FROM {}", view).c_str()),
              std::to_string(id))
        << view;
  }
  ASSERT_EQ(must(stored_leases(db_)).size(), 1U);
  EXPECT_TRUE(must(stored_leases(db_))[0].rerun);
}

TEST_F(Reruns, AgreementIsTheMeanOfAPlansLatest) {
  for (const char* text : {"blue", "red box", "red box", "red box"}) {
    answered(question(true));
    must(finish(db_, result(take()->lease, text, 0), now_ms_));
  }
  answered(question(true), 3);
  must(finish(db_, result(take()->lease, "blue", 0), now_ms_));
  const std::vector<schema::PlanAgreement> all = must(plan_agreements(db_, 20)),
                                           latest = must(plan_agreements(db_, 3));
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].model_digest, "d1");
  EXPECT_EQ(all[0].edition, "e1");
  EXPECT_EQ(all[0].plan, 2U);
  EXPECT_EQ(all[0].jobs, 4U);
  EXPECT_DOUBLE_EQ(all[0].agreement, 0.75);
  EXPECT_EQ(all[1].agreement, 0.0);
  EXPECT_EQ(latest[0].jobs, 3U);
  EXPECT_DOUBLE_EQ(latest[0].agreement, 1.0);
}

}  // namespace
}  // namespace dslad::daemon
