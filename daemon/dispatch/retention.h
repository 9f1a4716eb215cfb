// Forgets jobs that ended long ago, a few at a time, so that nobody notices. Socket thread only.
#pragma once

#include <cstdint>

#include "daemon/clock.h"
#include "daemon/store/executor.h"

namespace dslad::daemon {

struct RetentionRules {
  std::int64_t max_age_ms = 0;          // since the end; 0: for ever
  std::int64_t max_database_bytes = 0;  // beyond it those that ended first go; 0: as the disk has room
};

class Retention {
 public:
  Retention(const RetentionRules& rules, const Clock& clock, Executor& store);

  void set_rules(const RetentionRules& rules) { rules_ = rules; }

  // Call several times a second.
  void tick();

  [[nodiscard]] std::uint64_t forgotten() const { return forgotten_; }  // jobs

 private:
  void forget_some();

  RetentionRules rules_;
  const Clock& clock_;
  Executor& store_;
  std::int64_t next_ms_ = 0;  // steady
  bool forgetting_ = false;
  std::uint64_t forgotten_ = 0;
};

}  // namespace dslad::daemon
