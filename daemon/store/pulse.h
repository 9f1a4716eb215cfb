// Whether a thread of the database moves, for the watchdog. A thread that has work is still from its last
// beat on: it beats between two pieces of work, and while SQLite computes. So a query may take as long as it
// takes; a read, write or fsync that does not return is what makes a thread still.
//
// Thread safety: begin() and end() under the mutex that guards the thread's queue, the rest from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "daemon/store/sqlite.h"

namespace dslad::daemon {

class Pulse {
 public:
  // From now on SQLite beats for it while it computes. The pulse must outlive what `db` runs.
  void listen_to(Database& db);

  void begin();  // there is work; if there was before, this is no beat
  void end();    // there is none
  void beat();
  // What comes cannot beat, and may take this long.
  void expect(std::chrono::milliseconds time);

  // For how long the thread has had work and not moved.
  [[nodiscard]] std::chrono::milliseconds still() const;

 private:
  std::atomic<std::int64_t> last_ms_{0};  // steady; in the future while something slow is expected
  std::atomic<bool> busy_{false};
};

}  // namespace dslad::daemon
