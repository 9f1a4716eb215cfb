// The writer's thread: group commit, isolation of errands, failing disks.
#include "daemon/store/writer.h"

#include <atomic>
#include <chrono>
#include <future>
#include <gtest/gtest.h>
#include <thread>

#include "daemon/store/job_reads.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using schema::Submitted;
using test::must;

class WriterTest : public ::testing::Test {
 protected:
  // Posts an enqueue; its outcome is appended to replies_.
  void submit(const schema::JobRequest& job) {
    writer_.post(Work(test::enqueue_jobs, std::vector{job}, QueueLimits{}, 1, std::string()),
                 [this](Result<Submitted> reply) { replies_.push_back(std::move(reply)); });
  }

  void wait_for_replies(std::size_t count) {
    while (replies_.size() < count) {
      std::unique_lock lock(mutex_);
      woken_.wait(lock, [this] { return wakes_ > 0; });
      wakes_ = 0;
      lock.unlock();
      writer_.finish_ready();
    }
  }

  // Keeps the writer busy until the promise is set, so that what is posted meanwhile shares the next
  // transaction.
  void hold(const std::shared_future<void>& until) {
    writer_.post(Work(
                     [](Database&, const std::shared_future<void>& released) {
                       released.wait();
                       return ok_status();
                     },
                     until),
                 [](const Status&) {});
  }

  void wake() {
    const std::lock_guard lock(mutex_);
    ++wakes_;
    woken_.notify_one();
  }

  test::TempDir folder_;
  std::mutex mutex_;
  std::condition_variable woken_;
  int wakes_ = 0;
  std::vector<Result<Submitted>> replies_;
  Writer writer_{test::open_database(folder_.path() / "dslad.db"), [this] { wake(); }};
};

// An object of the loop's cannot come to the database's thread: neither captured nor as an input.
template <typename Run, typename... Inputs>
constexpr bool kIsWork = std::is_constructible_v<Work<std::monostate>, Run, Inputs...>;

struct Capturing {  // as a lambda that captures `this` is
  void* captured = nullptr;
  Status operator()(Database&) const { return ok_status(); }
};

TEST(Work, TakesNothingOfTheLoops) {
  const auto plain = [](Database&, const auto&...) { return ok_status(); };
  static_assert(kIsWork<decltype(plain)> && kIsWork<decltype(plain), std::string, std::vector<int>>);
  static_assert(!kIsWork<Capturing>);
  static_assert(!kIsWork<decltype(plain), int*> && !kIsWork<decltype(plain), std::reference_wrapper<int>>);
  static_assert(!kIsWork<decltype(plain), std::function<void()>>);
  static_assert(!kIsWork<decltype(plain), std::string_view>);
  static_assert(!kIsWork<decltype(plain), std::shared_ptr<int>>);
  static_assert(kIsWork<decltype(plain), std::shared_ptr<const int>>);
  static_assert(!std::is_constructible_v<Work<std::monostate>, std::function<Status(Database&)>>);
}

TEST_F(WriterTest, WhatFailedWorkToldAsideIsKnownAfterwards) {
  const Aside<std::string> aside;
  std::optional<Status> failed;
  writer_.post(Work(
                   [](Database&, const Aside<std::string>& told) -> Status {
                     told.tell("which it was");
                     return Error{ErrorCode::kCorrupt, "one is damaged"};
                   },
                   aside),
               [&failed](const Status& status) { failed = status; });
  writer_.stop();
  ASSERT_TRUE(failed && !*failed);
  ASSERT_TRUE(aside.told());
  EXPECT_EQ(*aside, "which it was");
}

TEST_F(WriterTest, StandsStillWhileWorkDoesNotReturnAndOnlyThen) {
  EXPECT_EQ(writer_.still().count(), 0);
  std::promise<void> release;
  hold(release.get_future().share());
  while (writer_.still().count() < 2) std::this_thread::yield();
  release.set_value();
  submit(test::summarize());
  wait_for_replies(1);
  while (writer_.still().count() > 0) std::this_thread::yield();
}

TEST_F(WriterTest, DoesNotStandStillWhileSqliteComputes) {
  const auto enough = std::make_shared<std::atomic<bool>>(false);
  writer_.post(Work(
                   [](Database& db, const std::shared_ptr<std::atomic<bool>>& stop) -> Status {
                     while (!*stop) {
                       Query query(
                           db,
                           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
                           "SELECT count(*) FROM n");
                       while (query.next()) {
                       }
                       if (!query.status()) return query.status().error();
                     }
                     return ok_status();
                   },
                   enough),
               [](const Status&) {});
  std::chrono::milliseconds longest{0};
  while (true) {  // until it has beaten inside its one piece of work
    const std::chrono::milliseconds still = writer_.still();
    if (still < longest) break;
    longest = still;
  }
  *enough = true;
  submit(test::summarize());
  wait_for_replies(1);
}

TEST_F(WriterTest, ErrandsPostedDuringACommitShareTheNext) {
  constexpr std::size_t kJobs = 400;
  std::promise<void> release;
  hold(release.get_future().share());
  for (std::size_t i = 0; i < kJobs; ++i) submit(test::summarize());
  release.set_value();
  wait_for_replies(kJobs);
  for (const Result<Submitted>& reply : replies_) EXPECT_TRUE(reply.ok());
  EXPECT_LE(writer_.stats().commits, kJobs / 50);
  EXPECT_GE(writer_.stats().largest, kJobs / 2);
}

TEST_F(WriterTest, RepliesComeInTheOrderPosted) {
  for (int i = 0; i < 50; ++i) submit(test::summarize());
  wait_for_replies(50);
  for (std::size_t i = 1; i < replies_.size(); ++i) EXPECT_LT(replies_[i - 1]->ids[0], replies_[i]->ids[0]);
}

TEST_F(WriterTest, AcknowledgedJobIsSeenByAnotherConnection) {
  submit(test::summarize());
  wait_for_replies(1);
  Database other = test::open_database(folder_.path() / "dslad.db");
  EXPECT_TRUE(read_info(other, replies_[0]->ids[0]).ok());
}

TEST_F(WriterTest, FailedErrandLeavesNoTraceAndOthersCommit) {
  std::promise<void> release;
  hold(release.get_future().share());
  submit(test::summarize());
  writer_.post(Work([](Database& db) -> Result<Submitted> {
                 must(test::enqueue_jobs(db, {test::summarize(), test::summarize()}, {}, 1));
                 return Error{ErrorCode::kRefused, "changed my mind"};
               }),
               [this](Result<Submitted> reply) { replies_.push_back(std::move(reply)); });
  submit(test::summarize());
  release.set_value();
  wait_for_replies(3);
  EXPECT_TRUE(replies_[0].ok());
  EXPECT_EQ(replies_[1].error().code, ErrorCode::kRefused);
  EXPECT_TRUE(replies_[2].ok());
  Database other = test::open_database(folder_.path() / "dslad.db");
  EXPECT_EQ(must(count_jobs(other))["queued"], 2U);
}

TEST_F(WriterTest, FullDiskIsUnavailableAndTheWriterGoesOn) {
  submit(test::summarize());
  wait_for_replies(1);
  const auto set_limit = [this](const std::string& pragma) {
    writer_.post(Work([](Database& db, const std::string& sql) { return db.exec(sql.c_str()); }, pragma),
                 [](const Status&) {});
  };
  set_limit("PRAGMA max_page_count = 1");  // SQLite answers SQLITE_FULL from here on
  submit(test::summarize(std::string(1 << 20, 'x')));
  wait_for_replies(2);
  ASSERT_FALSE(replies_[1].ok());
  EXPECT_EQ(replies_[1].error().code, ErrorCode::kUnavailable);
  set_limit("PRAGMA max_page_count = 1000000");
  submit(test::summarize(std::string(1 << 20, 'x')));
  wait_for_replies(3);
  EXPECT_TRUE(replies_[2].ok());
  Database other = test::open_database(folder_.path() / "dslad.db");
  EXPECT_EQ(must(count_jobs(other))["queued"], 2U);
}

TEST_F(WriterTest, StopRunsWhatWasPostedAndEmptiesTheWal) {
  for (int i = 0; i < 100; ++i) submit(test::summarize());
  writer_.stop();
  EXPECT_EQ(replies_.size(), 100U);
  const std::filesystem::path wal = folder_.path() / "dslad.db-wal";
  EXPECT_TRUE(!std::filesystem::exists(wal) || std::filesystem::file_size(wal) == 0);
}

// The checkpoint of a log that is large or old is tried every five seconds; so this waits for the first.
TEST_F(WriterTest, ReaderThatKeepsTheLogFromBeingEmptiedIsSeen) {
  Database reader = test::open_database(folder_.path() / "dslad.db");
  must(reader.exec("BEGIN; SELECT count(*) FROM jobs"));
  submit(test::summarize());
  wait_for_replies(1);
  while (writer_.stats().held_up_ms == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(writer_.stats().checkpoints, 0U);
  must(reader.exec("COMMIT"));
  submit(test::summarize());
  while (writer_.stats().held_up_ms != 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GT(writer_.stats().checkpoints, 0U);
}

TEST_F(WriterTest, BacklogOfBytesIsReported) {
  std::promise<void> release;
  hold(release.get_future().share());
  EXPECT_FALSE(writer_.is_full());
  writer_.post(
      Work([](Database&) { return ok_status(); }), [](const Status&) {}, std::size_t{1} << 30);
  EXPECT_TRUE(writer_.is_full());
  release.set_value();
}

}  // namespace
}  // namespace dslad::daemon
