// What the daemon's tests share: a folder that goes away, an opened store, an executor that works at once,
// and short ways to make requests.
#pragma once

#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <utility>

#include "daemon/store/executor.h"
#include "daemon/store/job_writes.h"
#include "daemon/store/leases.h"
#include "daemon/store/migrate.h"
#include "daemon/store/sqlite.h"

namespace dslad::daemon::test {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The value, or a failed test and an end of it.
template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}
inline void must(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

Database open_database(const std::filesystem::path& file);

// The first column of the first row, as text.
std::string query_text(Database& db, const char* sql);

// Runs all work in transactions of their own, within post(); work posted by a `finish` waits for its turn.
class InlineExecutor final : public Executor {
 public:
  explicit InlineExecutor(Database& db) : db_(db) {}
  using Executor::post;
  void post(std::unique_ptr<Errand> errand) override;
  [[nodiscard]] std::int64_t rows_changed() const override { return db_.rows_changed(); }

  void fail_next(Error error) { failure_ = std::move(error); }  // the next transaction's commit

  // Holds work between its commit and its `finish`, as a busy socket thread does, or before both, as a slow
  // disk does.
  enum class Hold { kNothing, kFinish, kAll };
  void hold(Hold what) { hold_ = what; }
  // Goes on with what was held, in order.
  void let_go();

  [[nodiscard]] std::size_t posted() const { return posted_; }              // pieces of work
  [[nodiscard]] std::size_t posted_bytes() const { return posted_bytes_; }  // as the work says, all together

 private:
  Status run(Errand& errand);  // what became of the commit
  void work_off();

  Database& db_;
  std::vector<std::unique_ptr<Errand>> waiting_;
  bool running_ = false;
  std::size_t posted_ = 0;
  std::size_t posted_bytes_ = 0;
  std::optional<Error> failure_;
  Hold hold_ = Hold::kNothing;
  std::vector<std::pair<std::unique_ptr<Errand>, Status>> finished_;  // and held
};

// A submit of these jobs, straight into the database.
Result<schema::Submitted> enqueue_jobs(Database& db, const std::vector<schema::JobRequest>& jobs,
                                       const QueueLimits& limits, std::int64_t now_ms,
                                       const std::string& client = {});

schema::JobRequest summarize(const std::string& document = "a document");
schema::JobRequest qa(const std::vector<std::string>& questions);
schema::WorkerResult success(const schema::Lease& lease, const std::string& text = "an answer");
schema::WorkerResult failure(const schema::Lease& lease, ErrorCode code);

}  // namespace dslad::daemon::test
