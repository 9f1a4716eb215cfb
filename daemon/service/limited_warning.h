// A warning that peers can cause at will: at most one is logged in five seconds, and the next says how many
// were left out. One object a place; one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/process/known_message.h"

namespace dslad::daemon {

class LimitedWarning {
 public:
  explicit LimitedWarning(process::KnownMessage known = {}) : known_(known) {}
  void warning(std::string_view message, std::int64_t steady_ms);
  [[nodiscard]] std::uint64_t count() const { return count_; }  // logged or not

 private:
  process::KnownMessage known_;
  std::uint64_t count_ = 0;
  std::uint64_t left_out_ = 0;  // since the last that was logged
  std::int64_t next_ms_ = 0;    // steady; none is logged before
};

}  // namespace dslad::daemon
