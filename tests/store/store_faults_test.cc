// Whatever call to the disk fails, and however: what was acknowledged is there, once; what was not done was
// reported; nothing crashes; and the store goes on when the disk does. Every call of a workload is tried.
#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <iterator>

#include "daemon/store/integrity.h"
#include "daemon/store/job_reads.h"
#include "daemon/store/wal_check.h"
#include "daemon/store/writer.h"
#include "tests/daemon/fixture.h"
#include "tests/sanitized.h"
#include "tests/source_dir.h"
#include "tests/store/fault_vfs.h"

namespace dslad::daemon {
namespace {

using schema::JobId;
using schema::JobState;
using test::Fault;
using test::must;

// The real writer with its thread, one piece of work at a time.
class SyncStore {
 public:
  explicit SyncStore(Database db) : writer_(std::move(db), [this] { wake(); }) {}

  template <typename T>
  Result<T> run(std::function<Result<T>(Database&)> work) {
    std::optional<Result<T>> result;
    writer_.post(std::make_unique<Awaited<T>>(std::move(work), result));
    while (!result) {
      std::unique_lock lock(mutex_);
      woken_.wait(lock, [this] { return woken_up_; });
      woken_up_ = false;
      lock.unlock();
      writer_.finish_ready();
    }
    return std::move(*result);
  }

 private:
  // The caller waits, so its work may refer to what the caller has.
  template <typename T>
  class Awaited final : public Errand {
   public:
    Awaited(std::function<Result<T>(Database&)> work, std::optional<Result<T>>& result)
        : work_(std::move(work)), result_(result) {}
    Status run(Database& db) override {
      reply_ = work_(db);
      return reply_ ? ok_status() : Status(reply_.error());
    }
    void finish(const Status& committed) override {
      result_ = committed ? std::move(reply_) : Result<T>(committed.error());
    }
    [[nodiscard]] std::size_t bytes() const override { return 0; }

   private:
    std::function<Result<T>(Database&)> work_;
    std::optional<Result<T>>& result_;
    Result<T> reply_ = Error{ErrorCode::kInternal, "the work was not done"};
  };

  void wake() {
    const std::lock_guard lock(mutex_);
    woken_up_ = true;
    woken_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable woken_;
  bool woken_up_ = false;
  Writer writer_;  // last: its thread uses the others
};

// What a client was told, and what it asked for without an answer that it was done.
struct Told {
  std::map<std::string, JobId> jobs;           // by key
  std::map<JobId, std::set<JobState>> states;  // any of them may be true
  std::set<JobId> perhaps_forgotten;
  int failures = 0;
};

const std::vector<std::string> kKeys = {"a", "b", "c", "d", "e", "f"};

class StoreFaults : public ::testing::Test {
 protected:
  StoreFaults() {
    vfs_.disarm();
    vfs_.forget_files();
    Database made = test::open_database(folder_.path() / "template.db");
    must(made.checkpoint());
  }

  // A store on a database that is as new.
  std::unique_ptr<SyncStore> fresh() {
    std::filesystem::remove(file_.string() + "-wal");
    std::filesystem::remove(file_.string() + "-shm");
    vfs_.forget_files();
    std::filesystem::copy_file(folder_.path() / "template.db", file_,
                               std::filesystem::copy_options::overwrite_existing);
    return open();
  }

  std::unique_ptr<SyncStore> open() {
    Database db = must(Database::open(file_, 1000));
    must(db.exec(
        "PRAGMA wal_autocheckpoint = 12"));  // so that the file is written, too, and the log begun anew
    return std::make_unique<SyncStore>(std::move(db));
  }

  static Result<Enqueued> submit(SyncStore& store, const std::string& key) {
    schema::JobRequest job =
        key == "b" ? test::qa({"Who?", "When?"}) : test::summarize(std::string(9'000, key[0]));
    job.idempotency_key = key;
    job.labels = {"label"};
    return store.run<Enqueued>([job](Database& db) {
      return enqueue(db, schema::Submit{{job}, "ada"}, {}, Intake{1'000});
    });
  }

  static void submit_all(SyncStore& store, Told& told, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      const Result<Enqueued> reply = submit(store, kKeys[i]);
      if (!reply) ++told.failures;
      if (reply) told.jobs[kKeys[i]] = reply->reply.ids.at(0);
      if (reply) told.states[reply->reply.ids.at(0)].insert(JobState::kQueued);
    }
  }

  // `does` answers with the states that the jobs have now.
  static void change(SyncStore& store, Told& told, const std::map<JobId, JobState>& jobs,
                     std::function<Result<bool>(Database&)> does) {
    const Result<bool> done = store.run<bool>(std::move(does));
    if (!done) ++told.failures;
    for (const auto& [id, state] : jobs) {
      if (done) told.states[id].clear();
      told.states[id].insert(state);
    }
  }

  // Everything that the store does, in little.
  static Told work(SyncStore& store) {
    Told told;
    submit_all(store, told, 0, 4);
    const Result<Claim> claimed = store.run<Claim>([](Database& db) {
      return claim(db, {{"host:1:cpu", "i"}, "tiny", "d1"}, 2, 2'000);
    });
    if (!claimed) {
      ++told.failures;
      for (auto& [id, states] : told.states) states.insert(JobState::kRunning);
    } else if (claimed->jobs.size() == 2) {
      const schema::Lease first = claimed->jobs[0].lease, second = claimed->jobs[1].lease;
      told.states[first.job] = told.states[second.job] = {JobState::kRunning};
      schema::WorkerResult result = test::success(first, std::string(6'000, 'z'));
      if (claimed->jobs[0].spec.questions.size() == 2) result.outputs.push_back(result.outputs[0]);
      change(store, told, {{first.job, JobState::kSucceeded}}, [result](Database& db) -> Result<bool> {
        const Result<Outcome> outcome = finish(db, result, 3'000);
        return outcome ? Result<bool>(true) : outcome.error();
      });
      change(store, told, {{second.job, JobState::kQueued}}, [second](Database& db) -> Result<bool> {
        const Result<Outcome> outcome = release(db, second, LeaseEnd::kGivenBack, "", 3'000);
        return outcome ? Result<bool>(true) : outcome.error();
      });
    }
    submit_all(store, told, 4, 5);
    if (const auto d = told.jobs.find("d"); d != told.jobs.end()) {
      change(store, told, {{d->second, JobState::kCancelled}},
             [id = d->second](Database& db) -> Result<bool> {
               const Result<CancelOutcome> outcome = cancel(db, {id}, 4'000);
               return outcome ? Result<bool>(true) : outcome.error();
             });
    }
    const Result<std::uint64_t> forgotten =
        store.run<std::uint64_t>([](Database& db) -> Result<std::uint64_t> {
          Result<std::uint64_t> count = forget(db, {}, 1, 5'000);
          if (count) must_or_error(give_back_pages(db), count);
          return count;
        });
    if (!forgotten) ++told.failures;
    for (const auto& [id, states] : told.states) {
      if (states.contains(JobState::kSucceeded) || states.contains(JobState::kCancelled))
        told.perhaps_forgotten.insert(id);
    }
    submit_all(store, told, 5, 6);
    return told;
  }

  static void must_or_error(const Status& status, Result<std::uint64_t>& result) {
    if (!status) result = status.error();
  }

  // The database has what was told, once.
  static Result<bool> compare(Database& db, const Told& told) {
    for (const auto& [key, id] : told.jobs) {
      if (told.perhaps_forgotten.contains(id)) continue;
      const Result<schema::JobInfo> info = read_info(db, id);
      EXPECT_TRUE(info.ok()) << "job " << key << " was acknowledged";
      if (!info) continue;
      EXPECT_THAT(told.states.at(id), ::testing::Contains(info->state)) << key;
      const Result<schema::JobSpec> spec = read_spec(db, id);
      EXPECT_TRUE(spec.ok()) << key;
      if (spec && key != "b") {
        EXPECT_EQ(spec->document, std::string(9'000, key[0]));
      }
    }
    EXPECT_EQ(test::query_text(db,
                               "SELECT coalesce(max(n), 0) < 2 FROM (SELECT count(*) AS n FROM jobs GROUP BY "
                               "owner_key)"),
              "1");
    static const std::atomic<bool> kGoOn{false};
    EXPECT_THAT(must(check_integrity(db, false, kGoOn)).findings, ::testing::IsEmpty());
    return true;
  }

  // The client asks once more for what it has no answer of: then all is there.
  static void ask_again(SyncStore& store, Told& told) {
    const Told before = told;
    for (const std::string& key : kKeys) {
      const Result<Enqueued> reply = submit(store, key);
      ASSERT_TRUE(reply.ok()) << reply.error().message;
      const JobId id = reply->reply.ids.at(0);
      const auto known = before.jobs.find(key);
      if (known != before.jobs.end() && !before.perhaps_forgotten.contains(known->second)) {
        EXPECT_EQ(id, known->second) << key;
      }
      told.jobs[key] = id;
      if (!told.states.contains(id)) {
        told.states[id] = {JobState::kQueued, JobState::kRunning, JobState::kSucceeded, JobState::kCancelled};
      }
    }
    must(store.run<bool>([&told](Database& db) { return compare(db, told); }));
  }

  // Calls that the fault concerns in a workload that meets none.
  std::uint64_t count_calls(Fault fault) {
    std::unique_ptr<SyncStore> store = fresh();
    vfs_.arm(fault, ~std::uint64_t{0}, false);
    EXPECT_EQ(work(*store).failures, 0);
    const std::uint64_t calls = vfs_.calls();
    vfs_.disarm();
    return calls;
  }

  // How many calls are passed over for one that fails: DSLAD_FAULT_STRIDE=1 tries all of them, in a minute.
  static std::uint64_t stride() {
    const char* const asked = std::getenv("DSLAD_FAULT_STRIDE");
    if (asked != nullptr) return std::max<std::uint64_t>(1, std::strtoull(asked, nullptr, 10));
    return dslad::testing::kSanitized ? 61 : 13;
  }

  // The disk fails at the nth call, and is mended when the workload has ended.
  void try_fault(Fault fault, std::uint64_t nth, bool lasting) {
    SCOPED_TRACE(
        fmt::format("fault {}, call {}, {}", static_cast<int>(fault), nth, lasting ? "lasting" : "once"));
    std::unique_ptr<SyncStore> store = fresh();
    vfs_.arm(fault, nth, lasting);
    Told told = work(*store);
    vfs_.disarm();
    must(store->run<bool>([&told](Database& db) { return compare(db, told); }));
    ask_again(*store, told);
    store.reset();
    store = open();
    must(store->run<bool>([&told](Database& db) { return compare(db, told); }));
  }

  void try_every_call(Fault fault) {
    const std::uint64_t calls = count_calls(fault);
    ASSERT_GT(calls, 10U);
    for (std::uint64_t nth = 1; nth <= calls && !HasFailure(); nth += stride()) {
      try_fault(fault, nth, false);
      try_fault(fault, nth, true);
    }
  }

  void try_power_cuts(Fault fault) {
    const std::uint64_t calls = count_calls(fault);
    ASSERT_GT(calls, 50U);
    for (std::uint64_t nth = 1; nth <= calls && !HasFailure(); nth += stride()) {
      SCOPED_TRACE(fmt::format("power cut {} at call {}", static_cast<int>(fault), nth));
      std::unique_ptr<SyncStore> store = fresh();
      vfs_.arm(fault, nth, false);
      Told told = work(*store);
      EXPECT_TRUE(vfs_.struck());
      store.reset();
      vfs_.restore_power(static_cast<std::uint32_t>(nth));
      EXPECT_TRUE(check_log(file_).ok()) << "a power cut is no damage";
      store = open();
      must(store->run<bool>([&told](Database& db) { return compare(db, told); }));
      ask_again(*store, told);
    }
  }

  test::FaultVfs& vfs_ = test::FaultVfs::install();
  test::TempDir folder_;
  const std::filesystem::path file_ = folder_.path() / "dslad.db";
};

TEST_F(StoreFaults, ReadsFail) {
  try_every_call(Fault::kReadError);
}
TEST_F(StoreFaults, WritesFail) {
  try_every_call(Fault::kWriteError);
}
TEST_F(StoreFaults, DiskIsFull) {
  try_every_call(Fault::kFull);
}
TEST_F(StoreFaults, WritesAreCutShort) {
  try_every_call(Fault::kShortWrite);
}
TEST_F(StoreFaults, SyncsFail) {
  try_every_call(Fault::kSyncError);
}
TEST_F(StoreFaults, PowerIsCut) {
  try_power_cuts(Fault::kPowerCut);
}
TEST_F(StoreFaults, PowerIsCutAndSomeOfWhatWasNotSyncedIsThere) {
  try_power_cuts(Fault::kPowerCutTorn);
}

TEST_F(StoreFaults, SyncsAreSlow) {
  std::unique_ptr<SyncStore> store = fresh();
  vfs_.arm(Fault::kSlowSync, 1, true);
  Told told = work(*store);
  EXPECT_EQ(told.failures, 0);
  EXPECT_TRUE(vfs_.struck());
  ask_again(*store, told);
}

// A sync that fails lets the kernel forget what it had to write: what is acknowledged afterwards must not
// rest on it.
TEST_F(StoreFaults, WhatIsAcknowledgedAfterASyncThatFailedOutlivesAPowerCut) {
  const std::uint64_t calls = count_calls(Fault::kSyncError);
  for (std::uint64_t nth = 1; nth <= calls && !HasFailure(); nth += stride()) {
    SCOPED_TRACE(fmt::format("sync {}", nth));
    std::unique_ptr<SyncStore> store = fresh();
    vfs_.arm(Fault::kSyncError, nth, false);
    Told told = work(*store);
    vfs_.arm(Fault::kPowerCut, 1, false);
    EXPECT_FALSE(submit(*store, "late").ok());
    store.reset();
    vfs_.restore_power(0);
    store = open();
    must(store->run<bool>([&told](Database& db) { return compare(db, told); }));
    ask_again(*store, told);
  }
}

TEST_F(StoreFaults, MigrationThatIsCutOffLeavesAVersionThatIsWhole) {
  const std::filesystem::path old = folder_.path() / "old.db";
  {
    Database db = must(Database::open(old, 1000));
    std::ifstream dump(source_dir() / "tests/golden/databases/version_1.sql");
    const std::string sql{std::istreambuf_iterator<char>(dump), {}};
    must(db.exec(sql.c_str()));
    must(db.checkpoint());
  }
  for (std::uint64_t nth = 1; !HasFailure(); nth += stride()) {
    SCOPED_TRACE(nth);
    std::filesystem::remove(file_.string() + "-wal");
    vfs_.forget_files();
    std::filesystem::copy_file(old, file_, std::filesystem::copy_options::overwrite_existing);
    bool ended = false;
    {
      Database db = must(Database::open(file_, 1000));
      vfs_.arm(Fault::kPowerCutTorn, nth, false);
      ended = migrate(db).ok();
    }
    if (ended && !vfs_.struck()) break;  // it was not reached
    vfs_.restore_power(static_cast<std::uint32_t>(nth));
    Database db = must(Database::open(file_, 1000));
    const int version = std::stoi(test::query_text(db, "PRAGMA user_version"));
    EXPECT_GE(version, 1);
    EXPECT_EQ(test::query_text(db, "PRAGMA integrity_check"), "ok");
    must(migrate(db));
    EXPECT_EQ(
        test::query_text(db, "SELECT group_concat(id || state) FROM (SELECT * FROM job_status ORDER BY id)"),
        "1succeeded,2queued");
  }
  vfs_.disarm();
}

}  // namespace
}  // namespace dslad::daemon
