// Copies of the database, and what a check of it finds.
#include "daemon/store/integrity.h"

#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <iterator>

#include "base/digest.h"
#include "daemon/store/backup.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/long_errand.h"
#include "tests/daemon/fixture.h"
#include "tests/source_dir.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using test::must;
using testing::HasSubstr;

class DatabaseCare : public ::testing::Test {
 protected:
  JobId submit(const schema::JobRequest& job = test::qa({"Who?", "When?"})) {
    return must(test::enqueue_jobs(db_, {job}, {}, ++now_ms_)).ids.at(0);
  }
  schema::Lease take() {
    return must(claim(db_, {{"host:1:cpu", "instance-a"}, "tiny", "d1"}, 1, ++now_ms_)).jobs.at(0).lease;
  }

  Integrity check(bool quick = false) { return check(db_, quick); }
  Integrity check(Database& db, bool quick = false) {
    must(db.run("BEGIN"));
    Integrity found = must(check_integrity(db, quick, stop_));
    must(db.run("ROLLBACK"));
    return found;
  }

  // Breaks a rule and names what must be found.
  void expect_found(const char* sql, const std::string& finding) {
    must(db_.exec("PRAGMA foreign_keys = OFF"));
    must(db_.exec("SAVEPOINT broken"));
    must(db_.exec(sql));
    const Integrity found = must(check_integrity(db_, false, stop_));
    EXPECT_THAT(found.findings, testing::Contains(HasSubstr(finding))) << sql;
    must(db_.exec("ROLLBACK TO broken; RELEASE broken"));
  }

  test::TempDir folder_;
  const std::filesystem::path file_ = folder_.path() / "dslad.db";
  const std::filesystem::path copy_ = folder_.path() / "backup.db";
  Database db_ = test::open_database(file_);
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> copied_{0};
  std::int64_t now_ms_ = 1'000'000;
};

TEST_F(DatabaseCare, NothingIsFoundInADatabaseThatHasSeenEverything) {
  for (int i = 0; i < 8; ++i) submit(i == 0 ? test::summarize() : test::qa({"Who?", "When?"}));
  must(finish(db_, test::success(take()), ++now_ms_));
  must(finish(db_, test::failure(take(), ErrorCode::kInvalidArgument), ++now_ms_));
  must(finish(db_, test::failure(take(), ErrorCode::kInternal), ++now_ms_));
  must(release(db_, take(), LeaseEnd::kGivenBack, "stops", ++now_ms_));
  must(cancel(db_, {take().job, 7}, ++now_ms_));
  take();
  EXPECT_THAT(check().findings, testing::IsEmpty());
  EXPECT_THAT(check(true).findings, testing::IsEmpty());
  must(forget(db_, {}, 100, ++now_ms_));
  EXPECT_THAT(check().findings, testing::IsEmpty());
}

TEST_F(DatabaseCare, NothingIsFoundInDatabasesOfOlderVersions) {
  for (int version = 1; version <= 5; ++version) {
    const std::string name = fmt::format("version_{}.sql", version);
    Database old = must(Database::open(folder_.path() / (name + ".db"), 1000));
    std::ifstream dump(source_dir() / "tests/golden/databases" / name);
    const std::string sql{std::istreambuf_iterator<char>(dump), {}};
    must(old.exec(sql.c_str()));
    must(migrate(old));
    EXPECT_THAT(check(old).findings, testing::IsEmpty()) << name;
  }
}

TEST_F(DatabaseCare, RulesThatAreBrokenAreNamed) {
  submit(test::summarize());
  must(finish(db_, test::success(take()), ++now_ms_));
  submit();
  take();
  submit();
  expect_found("UPDATE job_counts SET jobs = 5 WHERE state = 'queued'", "5 jobs of");
  expect_found("UPDATE job_counts SET bytes = 7 WHERE state = 'running'",
               "of 7 bytes are counted as running");
  expect_found("DELETE FROM job_counts WHERE state = 'queued'", "0 jobs of 0 bytes are counted as queued");
  expect_found("DELETE FROM job_inputs WHERE job_id = 3", "job 3 is queued and its texts are not there");
  expect_found("DELETE FROM job_questions WHERE job_id = 2 AND number = 1",
               "job 2 is running and has 2 questions, of which 1 are there");
  expect_found("UPDATE jobs SET ended_ms = NULL WHERE id = 1", "job 1 is succeeded and has no end");
  expect_found("UPDATE jobs SET ended_ms = 1 WHERE id = 3", "job 3 is queued and has an end");
  expect_found("DELETE FROM job_outputs", "job 1 has succeeded and has no answer");
  expect_found("DELETE FROM attempts WHERE job_id = 2", "job 2 is running, and its attempt 1 has no record");
  expect_found("UPDATE attempts SET outcome = 'lost' WHERE job_id = 2", "its attempt 1 has ended");
  expect_found("UPDATE attempts SET outcome = NULL WHERE job_id = 1",
               "attempt 1 of job 1 has not ended, and the job is succeeded");
  expect_found("UPDATE jobs SET attempt = 9 WHERE id = 1", "job 1 is at attempt 9, and 1 are recorded");
  expect_found("DELETE FROM jobs WHERE id = 3",
               "row 3 of job_inputs refers to one of jobs that is not there");
  expect_found("UPDATE jobs SET rerun_of = 1 WHERE id = 3", "job 3 repeats job 1, and nothing says why");
  EXPECT_THAT(check().findings, testing::IsEmpty());
}

TEST_F(DatabaseCare, FindingsAreBounded) {
  for (int i = 0; i < 150; ++i) submit(test::summarize());
  must(db_.exec("DELETE FROM job_inputs"));
  const Integrity found = check();
  EXPECT_EQ(found.findings.size(), kMostFindings);
  EXPECT_TRUE(found.more);
}

TEST_F(DatabaseCare, CheckEndsWhenItIsTold) {
  stop_ = true;
  must(db_.run("BEGIN"));
  EXPECT_EQ(check_integrity(db_, true, stop_).error().code, ErrorCode::kUnavailable);
}

TEST_F(DatabaseCare, CopyIsOfOneMomentAndMayTakeThePlaceOfTheDatabase) {
  submit();
  Database reading = must(Database::open_to_read(file_, 1000));
  must(reading.run("BEGIN"));
  must(reading.run("SELECT count(*) FROM jobs"));
  submit();  // is committed while the copy is made
  must(copy_database(reading, copy_, stop_, copied_));
  EXPECT_EQ(copied_, std::filesystem::file_size(copy_));
  Database copy = test::open_database(copy_);
  EXPECT_EQ(must(count_jobs(copy))["queued"], 1U);
  EXPECT_EQ(must(read_spec(copy, 1)).questions.size(), 2U);
  EXPECT_THAT(check(copy).findings, testing::IsEmpty());
  EXPECT_EQ(test::query_text(copy, "PRAGMA auto_vacuum"), "2");
  must(test::enqueue_jobs(copy, {test::summarize()}, {}, 1));
}

TEST_F(DatabaseCare, CopyEndsWhenItIsTold) {
  stop_ = true;
  must(db_.run("BEGIN"));
  EXPECT_EQ(copy_database(db_, copy_, stop_, copied_).error().code, ErrorCode::kUnavailable);
}

TEST_F(DatabaseCare, PiecesMakeUpTheFileThatTheDigestIsOf) {
  const std::string text(std::size_t{5} << 20, 'x');
  std::ofstream(copy_) << text;
  std::string read;
  while (true) {
    const schema::Bytes piece = must(read_piece(copy_, read.size(), std::size_t{1} << 20));
    if (piece.data.empty()) break;
    read += piece.data;
  }
  EXPECT_EQ(read, text);
  const FileDigest digest = must(digest_of(copy_, stop_));
  EXPECT_EQ(digest.bytes, text.size());
  EXPECT_EQ(digest.hex, hash_of(text).hex());
  std::filesystem::remove(copy_);
  EXPECT_EQ(read_piece(copy_, 0, 1).error().code, ErrorCode::kNotFound);
}

TEST_F(DatabaseCare, LongErrandReadsWhileOthersWriteAndEndsWithWhoeverStarted) {
  std::atomic<int> woken{0};
  std::optional<Status> done;
  {
    LongErrand errand(file_, [&woken] { ++woken; });
    errand.start(LongErrand::Work([](Database& db, const std::atomic<bool>& stop) -> Status {
                   if (Status written = db.exec("DELETE FROM jobs"); written)
                     return Error{ErrorCode::kInternal, "it wrote"};
                   while (!stop) std::this_thread::yield();
                   return Error{ErrorCode::kUnavailable, "told to stop"};
                 }),
                 [&done](const Status& status) { done = status; });
    submit();
    errand.finish_ready();
    EXPECT_TRUE(errand.running());
    errand.stop();
    EXPECT_FALSE(errand.running());
  }
  ASSERT_TRUE(done.has_value());
  EXPECT_EQ(done->error().message, "told to stop");
  EXPECT_EQ(woken, 1);
}

}  // namespace
}  // namespace dslad::daemon
