// The second door to the database: a thread with a connection that cannot write. Queries neither wait for a
// commit nor fail with a disk that is full, and no long query delays a transition. What was acknowledged
// before a query was posted is in its answer.
//
// Thread safety: as the Writer. Work that is not done when it stops finishes with kUnavailable.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/store/executor.h"
#include "daemon/store/pulse.h"

namespace dslad::daemon {

class Reader final : public Executor {
 public:
  // REQUIRES: `db` was opened by Database::open_to_read. `wake` as the Writer's.
  Reader(Database db, std::function<void()> wake);
  ~Reader() override;

  using Executor::post;
  void post(std::unique_ptr<Errand> errand) override;
  [[nodiscard]] std::int64_t rows_changed() const override { return 0; }  // it only reads

  // Calls `finish` of what has been done.
  void finish_ready();

  // For how long it has had work and not moved: see Pulse.
  [[nodiscard]] std::chrono::milliseconds still() const { return pulse_.still(); }

  // Ends the thread after the query that runs; finishes all work. Idempotent.
  void stop();

 private:
  struct Done {
    std::unique_ptr<Errand> errand;
    Status status;
  };

  void loop();
  Status run(Errand& errand);
  void join();

  Pulse pulse_;  // before db_, which beats it
  Database db_;  // of the thread
  std::function<void()> wake_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::unique_ptr<Errand>> waiting_;  // guarded by mutex_, as are the next two
  std::vector<Done> done_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dslad::daemon
