// The third door to the database: work on all of it, which takes as long as it is large. It has a thread and
// a connection of its own, that cannot write, so it delays neither commits nor queries. One at a time.
//
// Thread safety: everything is called from the one thread that owns the sockets, except that `wake` is called
// from the thread of the errand.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/result.h"
#include "daemon/store/sqlite.h"
#include "daemon/store/work.h"

namespace dslad::daemon {

class LongErrand {
 public:
  // Runs in one transaction, so it sees one state. Should look at `stop` now and then, and end once it is
  // true.
  using Work = daemon::Work<std::monostate, const std::atomic<bool>&>;
  using Done = std::function<void(const Status&)>;

  // `wake` as the Writer's.
  LongErrand(std::filesystem::path database, std::function<void()> wake);
  ~LongErrand();  // as stop(), without calling `done`
  LongErrand(const LongErrand&) = delete;
  LongErrand& operator=(const LongErrand&) = delete;

  // `done` is called by finish_ready(). It must own what it uses, but for what outlives this. REQUIRES:
  // !running()
  void start(Work work, Done done);

  // From start() until its `done` was called.
  [[nodiscard]] bool running() const { return thread_.joinable(); }

  // Tells the work to end; its `done` is called all the same.
  void cancel() { stop_ = true; }

  void finish_ready();

  // Ends what runs and calls its `done`. Idempotent.
  void stop();

 private:
  void finish();

  const std::filesystem::path database_;
  const std::function<void()> wake_;
  Done done_;
  Status status_ = ok_status();  // of the thread until ended_
  std::atomic<bool> stop_{false}, ended_{false};
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace dslad::daemon
