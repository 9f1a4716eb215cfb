// How the socket thread has work done on the database: it posts it, and hears of its outcome on its own
// thread. There are two: the Writer (transitions; heard of once the transaction that held them is on disk)
// and the Reader (queries). Tests work at once.
//
// The contract of an implementation: work runs in the order posted and its `finish` is called in that same
// order; work whose run() fails leaves no trace in the database and does not disturb the other.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "daemon/store/sqlite.h"
#include "schema/result.h"

namespace dslad::daemon {

class Work {
 public:
  virtual ~Work() = default;
  virtual Status run(Database& db) = 0;  // on the database's thread, inside a savepoint; perhaps twice
  virtual void finish(const Status& committed) = 0;     // on the poster's thread, after it ended
  [[nodiscard]] virtual std::size_t bytes() const = 0;  // roughly what it holds in memory
};

class Executor {
 public:
  virtual ~Executor() = default;
  virtual void post(std::unique_ptr<Work> work) = 0;

  // `work` gives the result, `done` takes it, or the error of the commit. Both must own what they use.
  template <typename T>
  void post(std::function<Result<T>(Database&)> work, std::function<void(Result<T>)> done,
            std::size_t bytes = 0);
};

namespace detail {

template <typename T>
class FunctionWork final : public Work {
 public:
  FunctionWork(std::function<Result<T>(Database&)> work, std::function<void(Result<T>)> done,
               std::size_t bytes)
      : work_(std::move(work)), done_(std::move(done)), bytes_(bytes) {}

  Status run(Database& db) override {
    result_ = work_(db);
    if (!result_) return result_.error();
    return ok_status();
  }

  void finish(const Status& committed) override {
    if (!committed) result_ = committed.error();
    done_(std::move(result_));
  }

  [[nodiscard]] std::size_t bytes() const override { return bytes_; }

 private:
  std::function<Result<T>(Database&)> work_;
  std::function<void(Result<T>)> done_;
  std::size_t bytes_;
  Result<T> result_ = Error{ErrorCode::kInternal, "the work was not done"};
};

}  // namespace detail

template <typename T>
void Executor::post(std::function<Result<T>(Database&)> work, std::function<void(Result<T>)> done,
                    std::size_t bytes) {
  post(std::make_unique<detail::FunctionWork<T>>(std::move(work), std::move(done), bytes));
}

}  // namespace dslad::daemon
