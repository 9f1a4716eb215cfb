#include "daemon/store/pulse.h"

#include <algorithm>
#include <cstdint>
#include <sqlite3.h>

namespace dslad::daemon {
namespace {

constexpr int kStepsBetweenBeats = 100'000;  // of SQLite's machine: about a millisecond

std::int64_t pulse_now_ms() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

}  // namespace

void Pulse::listen_to(Database& db) {
  const auto on_progress = [](void* pulse) {
    static_cast<Pulse*>(pulse)->beat();
    return 0;  // go on
  };
  sqlite3_progress_handler(db.handle(), kStepsBetweenBeats, on_progress, this);
}

void Pulse::begin() {
  if (busy_) return;
  beat();
  busy_ = true;
}

void Pulse::end() {
  busy_ = false;
}

void Pulse::beat() {
  last_ms_ = pulse_now_ms();
}

void Pulse::expect(std::chrono::milliseconds time) {
  last_ms_ = pulse_now_ms() + time.count();
}

std::chrono::milliseconds Pulse::still() const {
  if (!busy_) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(std::max<std::int64_t>(0, pulse_now_ms() - last_ms_));
}

}  // namespace dslad::daemon
