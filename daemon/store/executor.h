// How the socket thread has work done on the database: it posts it, and hears of its outcome on its own
// thread. There are two: the Writer (transitions; heard of once the transaction that held them is on disk)
// and the Reader (queries). Tests work at once.
//
// The contract of an implementation: errands run in the order posted and finish in that same order; one whose
// run() fails leaves no trace in the database and does not disturb the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "daemon/store/sqlite.h"
#include "daemon/store/work.h"

namespace dslad::daemon {

// Work, and what follows it.
class Errand {
 public:
  virtual ~Errand() = default;
  virtual Status run(Database& db) = 0;  // on the database's thread, inside a savepoint; perhaps twice
  virtual void finish(const Status& committed) = 0;     // on the poster's thread, after it ended
  [[nodiscard]] virtual std::size_t bytes() const = 0;  // roughly what it holds in memory
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(std::unique_ptr<Errand> errand) = 0;

  // Database::rows_changed() after the latest work that has finished: where a look found the same number, the
  // database is as it saw it.
  [[nodiscard]] virtual std::int64_t rows_changed() const = 0;

  // `done`, on the poster's thread, takes the work's reply, or the error of the commit. It must own what it
  // uses, but for what outlives the executor.
  template <typename Reply>
  void post(Work<Reply> work, std::type_identity_t<std::function<void(Result<Reply>)>> done,
            std::size_t bytes = 0);
};

namespace detail {

template <typename Reply>
class PostedWork final : public Errand {
 public:
  PostedWork(Work<Reply> work, std::function<void(Result<Reply>)> done, std::size_t bytes)
      : work_(std::move(work)), done_(std::move(done)), bytes_(bytes) {}

  Status run(Database& db) override {
    reply_ = work_(db);
    if (!reply_) return reply_.error();
    return ok_status();
  }

  void finish(const Status& committed) override {
    if (!committed) reply_ = committed.error();
    done_(std::move(reply_));
  }

  [[nodiscard]] std::size_t bytes() const override { return bytes_; }

 private:
  Work<Reply> work_;
  std::function<void(Result<Reply>)> done_;
  std::size_t bytes_;
  Result<Reply> reply_ = Error{ErrorCode::kInternal, "the work was not done"};
};

}  // namespace detail

template <typename Reply>
void Executor::post(Work<Reply> work, std::type_identity_t<std::function<void(Result<Reply>)>> done,
                    std::size_t bytes) {
  post(std::make_unique<detail::PostedWork<Reply>>(std::move(work), std::move(done), bytes));
}

}  // namespace dslad::daemon
