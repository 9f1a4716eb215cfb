// What is told of a write-ahead log before SQLite reads it: real logs, damaged byte by byte.
#include "daemon/store/wal_check.h"

#include <fstream>
#include <gmock/gmock.h>
#include <iterator>

#include "daemon/store/job_reads.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using test::must;

class WalCheck : public ::testing::Test {
 protected:
  WalCheck() {
    for (int i = 0; i < 5; ++i) submit();
    // As a killed daemon leaves them.
    std::filesystem::copy_file(folder_.path() / "dslad.db", left_);
    std::filesystem::copy_file(folder_.path() / "dslad.db-wal", log_);
    bytes_ = read(log_);
  }

  void submit() {
    must(db_.exec("BEGIN"));
    must(test::enqueue_jobs(db_, {test::summarize()}, {}, 1));
    must(db_.exec("COMMIT"));
  }

  static std::string read(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Result<LogEnd> check(const std::string& bytes) {
    std::ofstream(log_, std::ios::binary) << bytes;
    return check_log(left_);
  }
  std::string with(std::size_t at, std::size_t count) {
    std::string damaged = bytes_;
    for (std::size_t i = at; i < std::min(at + count, damaged.size()); ++i)
      damaged[i] = static_cast<char>(~damaged[i]);
    return damaged;
  }
  // What SQLite makes of it.
  std::string jobs() {
    Database db = must(Database::open(left_, 1000));
    return test::query_text(db, "SELECT count(*) FROM jobs");
  }

  static constexpr std::size_t kFrame = 24 + 4096;
  test::TempDir folder_;
  const std::filesystem::path left_ = folder_.path() / "left.db", log_ = folder_.path() / "left.db-wal";
  Database db_ = test::open_database(folder_.path() / "dslad.db");
  std::string bytes_;
};

TEST_F(WalCheck, WholeLogIsWhole) {
  EXPECT_EQ(must(check(bytes_)), LogEnd::kWhole);
  EXPECT_EQ(must(check(bytes_ + "half a frame")), LogEnd::kWhole);
  EXPECT_EQ(must(check("")), LogEnd::kWhole);
  EXPECT_EQ(must(check(bytes_.substr(0, 20))), LogEnd::kWhole);
  std::filesystem::remove(log_);
  EXPECT_EQ(must(check_log(left_)), LogEnd::kWhole);
}

TEST_F(WalCheck, LogThatEndsInACommitThatWasUnderWayIsWhole) {
  EXPECT_EQ(must(check(bytes_.substr(0, bytes_.size() - 100))), LogEnd::kWhole);
  EXPECT_EQ(jobs(), "4");
}

TEST_F(WalCheck, LastCommitThatIsNotWholeIsTold) {
  EXPECT_EQ(must(check(with(bytes_.size() - 100, 4))), LogEnd::kUnfinished);
  EXPECT_EQ(jobs(), "4");
}

TEST_F(WalCheck, DamageThatWouldLoseCommitsIsRefusedWithWhereItBegins) {
  const std::size_t middle = 32 + (bytes_.size() / kFrame / 2) * kFrame;
  for (const std::size_t at : {middle, middle + 12, middle + 1000}) {
    const Result<LogEnd> end = check(with(at, 8));
    ASSERT_FALSE(end.ok()) << at;
    EXPECT_EQ(end.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(end.error().message, testing::HasSubstr("truncate -s"));
  }
  EXPECT_NE(jobs(), "5") << "SQLite says nothing, so the check must";
}

TEST_F(WalCheck, BeginningThatIsDamagedIsRefused) {
  EXPECT_EQ(check(with(0, 32)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(check(with(25, 1)).error().code, ErrorCode::kCorrupt);
}

TEST_F(WalCheck, FramesOfAnEarlierLogAreNoDamage) {
  must(db_.exec("PRAGMA wal_checkpoint(RESTART)"));
  submit();  // begins the log again, in the same file
  const std::string restarted = read(folder_.path() / "dslad.db-wal");
  ASSERT_EQ(restarted.size(), bytes_.size());
  EXPECT_EQ(must(check(restarted)), LogEnd::kWhole);
}

TEST_F(WalCheck, CutWhereItSaysTheLogIsWholeAgain) {
  const Result<LogEnd> end = check(with(bytes_.size() / 2, 8));
  const std::string& message = end.error().message;
  const std::size_t cut = std::stoul(message.substr(message.find("truncate -s ") + 12));
  EXPECT_EQ(must(check(bytes_.substr(0, cut))), LogEnd::kWhole);
}

}  // namespace
}  // namespace dslad::daemon
