// Posts work that must not be lost to a disk that is full or failing: it is tried again at each retry() until
// the store took it. For what the daemon owes itself (results, ended leases), not for clients' requests.
// Socket thread only.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/store/executor.h"

namespace dslad::daemon {

class Durable {
 public:
  explicit Durable(Executor& store) : store_(store) {}

  // `done` is called once, with the result or with an error that trying again cannot mend.
  template <typename Reply>
  void post(Work<Reply> work, std::type_identity_t<std::function<void(Result<Reply>)>> done) {
    store_.post(work, [this, work, done = std::move(done)](Result<Reply> reply) {
      if (reply || reply.error().code != ErrorCode::kUnavailable) {
        done(std::move(reply));
      } else {
        failed_.push_back([this, work, done] { post(work, done); });
      }
    });
  }

  void retry() {
    for (const std::function<void()>& again : std::exchange(failed_, {})) again();
  }

  [[nodiscard]] std::size_t waiting() const { return failed_.size(); }

 private:
  Executor& store_;
  std::vector<std::function<void()>> failed_;
};

}  // namespace dslad::daemon
