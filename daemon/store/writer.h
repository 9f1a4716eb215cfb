// The thread that owns the database. Group commit: whatever was posted while a commit was running goes into
// the next transaction, each piece of work in a savepoint of its own, so that many clients share one fsync.
//
// Thread safety: everything is called from the one thread that owns the sockets, except that `wake` is called
// from the writer's thread. Nothing is acknowledged (Errand::finish) before its COMMIT has returned; when a
// transaction fails (disk full, I/O error) all its work finishes with that error and none has left a trace;
// where it was a damaged page, each piece of work is tried once more in a transaction of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "daemon/store/executor.h"
#include "daemon/store/pulse.h"

namespace dslad::daemon {

struct WriterStats {
  std::uint64_t commits = 0;      // transactions that ended well
  std::uint64_t failures = 0;     // transactions that did not
  std::uint64_t errands = 0;      // run in all of them
  std::uint64_t largest = 0;      // errands in one transaction
  std::uint64_t checkpoints = 0;  // WAL files truncated
  std::uint64_t held_up_ms = 0;   // for how long the WAL could not be, because somebody reads; 0: it could
};

class Writer final : public Executor {
 public:
  // `wake` must be cheap and safe to call from another thread: it makes the owner call finish_ready() soon.
  Writer(Database db, std::function<void()> wake);
  ~Writer() override;  // as stop(), without finishing work

  using Executor::post;
  void post(std::unique_ptr<Errand> errand) override;
  [[nodiscard]] std::int64_t rows_changed() const override { return rows_finished_; }

  // Calls `finish` of all work whose transaction has ended.
  void finish_ready();

  // True while so much is waiting that no further requests should be read.
  [[nodiscard]] bool is_full() const;

  // For how long it has had work and not moved: see Pulse.
  [[nodiscard]] std::chrono::milliseconds still() const { return pulse_.still(); }

  // Runs what was posted, moves the WAL into the database, ends the thread, finishes all work. Idempotent.
  void stop();

  [[nodiscard]] WriterStats stats() const;

  // How long each transaction took since the last call.
  std::vector<std::chrono::nanoseconds> take_times();

 private:
  using Batch = std::vector<std::unique_ptr<Errand>>;
  struct Ended {
    Batch batch;
    Status committed;
    std::int64_t rows_changed;
  };

  void loop();
  Batch wait_for_batch();
  void gather(std::unique_lock<std::mutex>& lock);
  void run_and_hand_over(Batch batch);
  Status run_batch(Batch& batch);
  Status run_errand(Errand& errand);
  void hand_over(Batch batch, Status committed);
  void checkpoint_if_due();
  [[nodiscard]] bool is_stopping() const;
  void join();

  Pulse pulse_;                         // before db_, which beats it
  Database db_;                         // of the writer's thread, as are the members down to last_commit_
  std::int64_t rows_seen_ = 0;          // Database::rows_changed() after the latest batch
  std::int64_t rows_checkpointed_ = 0;  // the same at the latest checkpoint
  std::chrono::steady_clock::time_point last_write_{}, last_checkpoint_{};
  std::chrono::nanoseconds last_commit_{0};  // how long it took
  std::function<void()> wake_;
  std::int64_t rows_finished_ = 0;  // of the poster's thread

  mutable std::mutex mutex_;
  std::condition_variable posted_;
  Batch waiting_;  // guarded by mutex_, as are the members down to stopping_
  std::size_t waiting_bytes_ = 0;
  std::size_t expected_ = 0;  // errands of the last commit, and those that came during it
  std::vector<Ended> ended_;
  std::vector<std::chrono::nanoseconds> times_;
  bool stopping_ = false;

  std::atomic<std::uint64_t> commits_{0}, failures_{0}, errands_{0}, largest_{0}, checkpoints_{0};
  std::atomic<std::int64_t> held_up_since_ms_{0};  // steady; 0: the WAL could be emptied the last time
  std::thread thread_;                             // last: it uses all of the above
};

}  // namespace dslad::daemon
