#include "daemon/clock.h"

#include <chrono>

namespace dslad::daemon {
namespace {

template <typename ChronoClock>
std::int64_t milliseconds() {
  const auto since = ChronoClock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

}  // namespace

std::int64_t SystemClock::wall_ms() const {
  return milliseconds<std::chrono::system_clock>();
}
std::int64_t SystemClock::steady_ms() const {
  return milliseconds<std::chrono::steady_clock>();
}

}  // namespace dslad::daemon
