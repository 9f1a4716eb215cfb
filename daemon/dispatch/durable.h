// Posts work that must not be lost to a disk that is full or failing: it is tried again at each retry() until
// the store took it. For what the daemon owes itself (results, ended leases), not for clients' requests.
// Socket thread only.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/store/executor.h"
#include "schema/result.h"

namespace dslad::daemon {

class Durable {
 public:
  explicit Durable(Executor& store) : store_(store) {}

  // `done` is called once, with the result or with an error that trying again cannot mend.
  template <typename T>
  void post(std::function<Result<T>(Database&)> work, std::function<void(Result<T>)> done) {
    auto shared = std::make_shared<const std::function<Result<T>(Database&)>>(std::move(work));
    post_shared<T>(std::move(shared), std::move(done));
  }

  void retry() {
    for (const std::function<void()>& again : std::exchange(failed_, {})) again();
  }

  [[nodiscard]] std::size_t waiting() const { return failed_.size(); }

 private:
  template <typename T>
  void post_shared(std::shared_ptr<const std::function<Result<T>(Database&)>> work,
                   std::function<void(Result<T>)> done) {
    store_.post<T>([work](Database& db) { return (*work)(db); },
                   [this, work, done](Result<T> result) {
                     if (result || result.error().code != ErrorCode::kUnavailable) {
                       done(std::move(result));
                     } else {
                       failed_.push_back([this, work, done] { post_shared<T>(work, done); });
                     }
                   });
  }

  Executor& store_;
  std::vector<std::function<void()>> failed_;
};

}  // namespace dslad::daemon
