// How a database is brought forward: what a migration may do to tables that others refer to, and what is left
// where one goes wrong.
#include "daemon/store/migrate.h"

#include <gmock/gmock.h>

#include "daemon/store/job_reads.h"
#include "tests/daemon/fixture.h"

namespace dslad::daemon {
namespace {

using test::must;
using Migrations = std::vector<schema::Migration>;

class Migrate : public ::testing::Test {
 protected:
  static std::int64_t newest() { return schema::migrations().back().version; }

  // All migrations there are, and one more.
  static Migrations and_then(std::string_view sql) {
    Migrations all(schema::migrations().begin(), schema::migrations().end());
    all.push_back({static_cast<int>(newest()) + 1, "9999_test.sql", sql});
    return all;
  }

  // The statement that makes a table, under another name.
  std::string made_as(const std::string& table, const std::string& name) {
    Query query(db_, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", table);
    if (!query.next()) throw std::runtime_error("no table " + table);
    std::string sql = query.text(0);
    const std::size_t open = sql.find('(');
    return "CREATE TABLE " + name + " " + sql.substr(open) + ";\n";
  }

  // What else must go before `jobs` can, and come again afterwards.
  std::string of_schema(const char* sql) {
    Query query(db_, sql);
    std::string all;
    while (query.next()) all += query.text(0) + ";\n";
    must(query.status());
    return all;
  }

  // By the book: https://sqlite.org/lang_altertable.html#otheralter.
  std::string rebuild_jobs() {
    const std::string views = of_schema("SELECT sql FROM sqlite_schema WHERE type = 'view'");
    const std::string others = of_schema(
        "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND tbl_name = 'jobs' "
        "AND sql IS NOT NULL");
    return of_schema("SELECT 'DROP VIEW ' || name FROM sqlite_schema WHERE type = 'view'") +
           made_as("jobs", "new_jobs") +
           "INSERT INTO new_jobs SELECT * FROM jobs; DROP TABLE jobs; ALTER TABLE new_jobs RENAME TO "
           "jobs;\n" +
           others + views;
  }

  test::TempDir folder_;
  Database db_ = test::open_database(folder_.path() / "dslad.db");
};

TEST_F(Migrate, TableThatIsRebuiltKeepsWhatRefersToIt) {
  const schema::Submitted jobs =
      must(test::enqueue_jobs(db_, {test::qa({"Who?"}), test::summarize()}, {}, 1));
  const std::string sql = rebuild_jobs();
  must(migrate(db_, and_then(sql)));
  EXPECT_EQ(test::query_text(db_, "PRAGMA user_version"), std::to_string(newest() + 1));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM job_inputs"), "2");
  EXPECT_EQ(must(read_spec(db_, jobs.ids[0])).questions, std::vector<std::string>{"Who?"});
  EXPECT_EQ(must(count_jobs(db_))["queued"], 2U);
  EXPECT_EQ(test::query_text(db_, "PRAGMA foreign_keys"), "1");
  must(db_.run("DELETE FROM jobs WHERE id = ?", jobs.ids[0]));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM job_inputs"), "1") << "and refers to it as before";
}

TEST_F(Migrate, MigrationThatWouldLeaveReferencesToNothingIsRefusedWithWhatItFound) {
  must(test::enqueue_jobs(db_, {test::summarize()}, {}, 1));
  const Status status = migrate(db_, and_then("DELETE FROM jobs;"));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(status.error().message, testing::HasSubstr("9999_test.sql"));
  EXPECT_THAT(status.error().message, testing::HasSubstr("row 1 of job_inputs refers to one of jobs"));
  EXPECT_EQ(test::query_text(db_, "PRAGMA user_version"), std::to_string(newest()));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM jobs"), "1");
  EXPECT_EQ(test::query_text(db_, "PRAGMA foreign_keys"), "1");
}

TEST_F(Migrate, MigrationThatFailsHalfWayLeavesNoTrace) {
  must(test::enqueue_jobs(db_, {test::summarize()}, {}, 1));
  const Status status = migrate(db_, and_then("UPDATE jobs SET priority = 7; DROP TABLE nothing;"));
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, testing::HasSubstr("9999_test.sql"));
  EXPECT_EQ(test::query_text(db_, "SELECT priority FROM jobs"), "0");
  EXPECT_EQ(test::query_text(db_, "PRAGMA foreign_keys"), "1");
  must(migrate(db_, and_then("UPDATE jobs SET priority = 7;")));
  EXPECT_EQ(test::query_text(db_, "SELECT priority FROM jobs"), "7");
}

TEST_F(Migrate, DatabaseOfTheFutureIsRefusedAndNamesBothVersions) {
  must(migrate(db_, and_then("CREATE TABLE new_thing (id INTEGER) STRICT;")));
  const Status status = migrate(db_);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kRefused);
  EXPECT_THAT(status.error().message, testing::HasSubstr("version " + std::to_string(newest() + 1)));
  EXPECT_THAT(status.error().message, testing::HasSubstr("up to " + std::to_string(newest())));
  EXPECT_EQ(test::query_text(db_, "SELECT count(*) FROM new_thing"), "0") << "and nothing was changed";
}

}  // namespace
}  // namespace dslad::daemon
