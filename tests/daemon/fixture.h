// What the daemon's tests share: a folder that goes away, an opened store, a queue that runs tasks at once,
// and short ways to make requests.
#pragma once

#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <utility>

#include "daemon/store/job_writes.h"
#include "daemon/store/migrate.h"
#include "daemon/store/queue.h"
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

// Runs each task in a transaction of its own, within post(); a task posted by a `finish` waits for its turn.
class InlineQueue final : public Queue {
 public:
  explicit InlineQueue(Database& db) : db_(db) {}
  using Queue::post;
  void post(std::unique_ptr<Task> task) override;

  void fail_next(Error error) { failure_ = std::move(error); }              // the next transaction's commit
  [[nodiscard]] std::size_t posted_bytes() const { return posted_bytes_; }  // as the tasks say, all together

 private:
  void run(Task& task);

  Database& db_;
  std::vector<std::unique_ptr<Task>> waiting_;
  bool running_ = false;
  std::size_t posted_bytes_ = 0;
  std::optional<Error> failure_;
};

schema::JobRequest summarize(const std::string& document = "a document");
schema::JobRequest qa(const std::vector<std::string>& questions);
schema::WorkerResult success(const schema::Lease& lease, const std::string& text = "an answer");
schema::WorkerResult failure(const schema::Lease& lease, ErrorCode code);

}  // namespace dslad::daemon::test
