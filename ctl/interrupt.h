// Ctrl-C as a question instead of a death: while a guard lives, SIGINT and SIGTERM only raise a flag and wake
// blocking calls. One guard at a time; install it before anything that waits.
#pragma once

#include <csignal>

namespace dslad::ctl {

class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction old_int_ = {};
  struct sigaction old_term_ = {};
};

// Whether a signal came since a guard was installed.
bool interrupted();

}  // namespace dslad::ctl
