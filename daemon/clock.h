// Time as the daemon sees it, behind a seam so that tests can let it pass. Safe from any thread.
#pragma once

#include <cstdint>

namespace dslad::daemon {

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual std::int64_t wall_ms() const = 0;    // since the Unix epoch; for records
  [[nodiscard]] virtual std::int64_t steady_ms() const = 0;  // never jumps; for leases and timeouts
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t wall_ms() const override;
  [[nodiscard]] std::int64_t steady_ms() const override;
};

}  // namespace dslad::daemon
